"""The proxies that are compared: queue-proxy of this tree, nginx, or any command that reads queue-proxy's environment.

One of them runs at a time, each round in a process of its own, all on the same address: the original's ports are fixed,
and commands that know nothing of `KNUV_BIND_ADDRESS` open them on every address.
"""

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.lab.queue_proxy.figures import OURS
from loadtests.lab.queue_proxy.machine import Cores, Process, pinned

__all__ = [
    "HOST",
    "PORT",
    "TLS_PORT",
    "LabError",
    "Setting",
    "Subject",
    "command_subject",
    "nginx",
    "queue_proxy",
    "running",
]

ROOT: Final = Path(__file__).parents[3]
HOST: Final = f"127.93.{os.getpid() % 251}.{os.getpid() // 251 % 251 + 1}"
"""An address of our own keeps queue-proxy's fixed ports apart from those of a running stack."""
PORT: Final = 8012
TLS_PORT: Final = 8112
_START_S: Final = 15.0
_END_S: Final = 5.0
_STDERR: Final = "stderr"

_NGINX: Final = """
daemon off; worker_processes 1; pid {scratch}/nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 0;
  client_body_temp_path {scratch}/nginx-body; client_body_buffer_size 1m;
  proxy_temp_path {scratch}/nginx-proxy; fastcgi_temp_path {scratch}/nginx-fastcgi;
  uwsgi_temp_path {scratch}/nginx-uwsgi; scgi_temp_path {scratch}/nginx-scgi;
  upstream app {{ server 127.0.0.1:{app_port}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen {host}:{port} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; {streaming}
    }}
  }}
}}
"""
_NGINX_STREAMING: Final = "proxy_buffering off; proxy_request_buffering off;"


class LabError(Exception):
    """A measurement cannot be made or is worthless; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the proxies are set up for one scenario."""

    concurrency: int = 100
    """queue-proxy's container concurrency."""
    is_streaming: bool = False
    """nginx passes on what it reads at once, as queue-proxy always does, instead of collecting bodies."""
    max_duration_s: int = 300
    response_start_s: int = 200
    idle_s: int = 100
    """queue-proxy's timers."""
    host: str = HOST
    """Where it listens."""
    certificates: Path | None = None
    """Folder of `tls.crt` and `tls.key`: TLS is served, too, and the app speaks HTTP/1.1. Not by nginx."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A proxy that can be started: `command(scratch folder, app's port, setting)`."""

    name: str
    command: Callable[[Path, int, Setting], list[str]]


def queue_proxy() -> Subject:
    """queue-proxy of this tree, with the interpreter that runs the benchmark."""
    return Subject(OURS, lambda _scratch, _app_port, _setting: [sys.executable, "-m", "queue_proxy"])


def command_subject(text: str) -> Subject:
    """Any command, given as for a shell. Raises `LabError` when there is no such program."""
    words = shlex.split(text)
    if not words or shutil.which(words[0]) is None:
        raise LabError(f"--against {text!r}: there is no such program")
    return Subject(text, lambda _scratch, _app_port, _setting: words)


def nginx() -> Subject:
    """nginx's `proxy_pass` with connections to the app kept alive. Raises `LabError` when it is not installed."""
    binary = _nginx_binary()

    def command(scratch: Path, app_port: int, setting: Setting) -> list[str]:
        config = scratch / "nginx.conf"
        streaming = _NGINX_STREAMING if setting.is_streaming else ""
        config.write_text(
            _NGINX.format(scratch=scratch, app_port=app_port, host=setting.host, port=PORT, streaming=streaming)
        )
        return [binary, "-p", str(scratch), "-c", str(config)]

    return Subject("nginx", command)


def nginx_version() -> str:
    """What nginx calls itself."""
    done = subprocess.run([_nginx_binary(), "-v"], check=True, capture_output=True, text=True)
    return done.stderr.strip().rpartition(" ")[2]


def _nginx_binary() -> str:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise LabError("nginx is not installed; it is the rival (Debian: apt-get install nginx-light)")
    return binary


def environment(app_port: int, setting: Setting) -> dict[str, str]:
    """What the controller would tell a queue-proxy, with every feature on that costs something per request."""
    return {
        "CONTAINER_CONCURRENCY": str(setting.concurrency),
        "QUEUE_SERVING_PORT": str(PORT),
        "QUEUE_SERVING_TLS_PORT": str(TLS_PORT),
        "USER_PORT": str(app_port),
        "REVISION_TIMEOUT_SECONDS": str(setting.max_duration_s),
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS": str(setting.response_start_s),
        "REVISION_IDLE_TIMEOUT_SECONDS": str(setting.idle_s),
        "OBSERVABILITY_CONFIG": '{"requestMetrics":{"protocol":"prometheus"}}',
        "SERVING_LOGGING_CONFIG": "",
        "SERVING_LOGGING_LEVEL": "error",
        "SERVING_NAMESPACE": "default",
        "SERVING_SERVICE": "lab",
        "SERVING_CONFIGURATION": "lab",
        "SERVING_REVISION": "lab-00001",
        "SERVING_POD": "lab-00001-deployment-0",
        "SERVING_POD_IP": "127.0.0.1",
        "KNUV_BIND_ADDRESS": setting.host,
        "KNUV_CERTIFICATES": str(setting.certificates or "/nonexistent"),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def process(subject: Subject, cores: Cores, scratch: Path, app_port: int, setting: Setting) -> Iterator[Process]:
    """Start a proxy on its core and end its whole process group afterwards. It need not listen yet."""
    command = subject.command(scratch, app_port, setting)
    with (scratch / _STDERR).open("wb") as stderr, pinned(cores.proxy):
        started = subprocess.Popen(
            command,
            cwd=scratch,
            env=environment(app_port, setting),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield Process(started.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        # A worker may die a little later than its master.
        end_s = time.monotonic() + _END_S
        while accepts(setting.host) and time.monotonic() < end_s:
            time.sleep(0.005)


def said(scratch: Path) -> str:
    """The end of what the proxy that was started last has printed."""
    return (scratch / _STDERR).read_text(errors="replace").strip()[-500:] or "nothing"


def accepts(host: str = HOST, port: int = PORT) -> bool:
    """Whether a proxy's port is open."""
    with socket.socket() as sock:
        return sock.connect_ex((host, port)) == 0


@asynccontextmanager
async def running(
    subject: Subject, cores: Cores, scratch: Path, app_port: int, setting: Setting
) -> AsyncIterator[Process]:
    """Start a proxy and wait until it listens. Raises `LabError`, with what it said, when it does not."""
    if accepts(setting.host):
        raise LabError(f"something listens on {setting.host}:{PORT} already; end it first")
    with process(subject, cores, scratch, app_port, setting) as started:
        end_s = time.monotonic() + _START_S
        port = PORT if setting.certificates is None else TLS_PORT
        while not accepts(setting.host, port):
            if started.has_ended() or time.monotonic() > end_s:
                raise LabError(f"{subject.name} does not listen on {setting.host}:{port}; it said: {said(scratch)}")
            await asyncio.sleep(0.005)
        yield started
