"""What does one HTTP/1.1 request cost in queue-proxy, and what in nginx? CPU time per request, same run, same core.

    python -m loadtests.lab queue-proxy [--connections 50] [--seconds 2] [--rounds 5] [--body-bytes 0] [--json]

The proxy under test has one core to itself; the load (keep-alive connections, one request at a time on each) and the
app (nginx answering `ok`) share another. Both are measured in turn, round after round, and the medians compared.
CPU time is what the kernel charged to the proxy's thread (`/proc/<pid>/schedstat`), so the figure does not depend on
how fast the load is. queue-proxy runs with everything on: breaker, timers, stats, forwarded headers.

Budget: at most 1.5 times nginx's `proxy_pass`. `--quick` only proves that the benchmark runs.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvloop

HOST: Final = "127.0.0.1"
PROXY_HOST: Final = f"127.93.{os.getpid() % 251}.{os.getpid() // 251 % 251 + 1}"
"""queue-proxy's ports are fixed; an address of its own keeps them apart from those of a running stack."""
BUDGET_RATIO: Final = 1.5
START_S: Final = 10.0
FIELDS: Final = (
    "User-Agent: lab/1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
    "X-Request-Id: 5f0c2c9e-8c5f-4f6e-9a36-0f6c0c1f7a11\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: http\r\n"
)

NGINX: Final = """
daemon off; worker_processes 1; pid {directory}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_buffer_size 1m; client_body_temp_path {directory}/{name}-body;
  proxy_temp_path {directory}/{name}-proxy; fastcgi_temp_path {directory}/{name}-fastcgi;
  uwsgi_temp_path {directory}/{name}-uwsgi; scgi_temp_path {directory}/{name}-scgi;
  upstream app {{ server {host}:{app_port}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen {host}:{port}; location / {{ {location} }} }}
}}
"""
APP: Final = 'default_type text/plain; return 200 "ok";'
PROXY_PASS: Final = (
    'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; '
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
)


class MissingTool(Exception):
    """Something that the benchmark compares with is not installed."""


def main(arguments: list[str]) -> int:
    """Run the comparison, or the load of one round in a process of its own."""
    parser = argparse.ArgumentParser(
        prog="queue-proxy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--body-bytes", type=int, default=0, help="POST this many bytes instead of a GET")
    parser.add_argument("--unique-heads", action="store_true", help="give every request an id of its own")
    parser.add_argument("--quick", action="store_true", help="one short round; the figures mean nothing")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--load", metavar="HOST:PORT", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.rounds = 0.3, 1
    if options.load:
        host, _, port = options.load.partition(":")
        print(json.dumps(uvloop.run(load(host, int(port), options))))
        return 0
    try:
        result = compare(options)
    except MissingTool as error:
        print(f"queue-proxy: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        report(result)
    return 0 if options.quick or float(str(result["ratio"])) <= BUDGET_RATIO else 1


def compare(options: argparse.Namespace) -> dict[str, object]:
    """Return the medians of both proxies and their ratio."""
    cores = sorted(os.sched_getaffinity(0))
    proxy_core, load_core = cores[0], cores[-1]
    with tempfile.TemporaryDirectory(prefix="knuv-lab-") as name:
        directory = Path(name)
        app_port, nginx_port = free_port(), free_port()
        with (
            nginx(directory, "app", app_port, app_port, APP, load_core),
            nginx(directory, "rival", nginx_port, app_port, PROXY_PASS, proxy_core) as rival,
            queue_proxy(app_port, proxy_core) as ours,
        ):
            proxies = {"nginx": (rival, HOST, nginx_port), "queue-proxy": (ours, PROXY_HOST, 8012)}
            rounds: dict[str, list[dict[str, float]]] = {key: [] for key in proxies}
            for _ in range(options.rounds):
                for key, (pid, host, port) in proxies.items():
                    rounds[key].append(measure(pid, host, port, load_core, options))
            figures = {key: summary(each) for key, each in rounds.items()}
            figures["queue-proxy"]["rss_mib"] = rss_mib(ours)
            figures["nginx"]["rss_mib"] = rss_mib(rival)
    return {
        "what": f"{'POST of ' + str(options.body_bytes) + ' bytes' if options.body_bytes else 'small GET'}, "
        f"{options.connections} keep-alive connections",
        "machine": f"{platform.machine()}, {len(cores)} cores, Linux {platform.release()}",
        "versions": f"Python {platform.python_version()}, uvloop {uvloop.__version__}, {nginx_version()}",
        "date": time.strftime("%Y-%m-%d"),
        "proxies": figures,
        "ratio": round(figures["queue-proxy"]["cpu_us"] / figures["nginx"]["cpu_us"], 2),
        "budget": BUDGET_RATIO,
    }


def measure(pid: int, host: str, port: int, core: int, options: argparse.Namespace) -> dict[str, float]:
    """Return requests per second, CPU time and latencies of one round."""
    command = [sys.executable, "-m", "loadtests.lab", "queue-proxy", "--load", f"{host}:{port}"]
    command += ["--connections", str(options.connections), "--seconds", str(options.seconds)]
    command += ["--body-bytes", str(options.body_bytes)] + (["--unique-heads"] if options.unique_heads else [])
    before_ns = cpu_ns(pid)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, preexec_fn=lambda: pin(core))
    cpu = cpu_ns(pid) - before_ns
    round_: dict[str, float] = json.loads(done.stdout)
    round_["cpu_us"] = cpu / 1000 / round_["requests"]
    return round_


async def load(host: str, port: int, options: argparse.Namespace) -> dict[str, float]:
    """Send requests over all connections until the time is up; every answer has to be a whole 200."""
    loop = asyncio.get_running_loop()
    fields, body = FIELDS, b"x" * options.body_bytes
    if body:
        fields += f"Content-Length: {len(body)}\r\n"
    line = "POST" if body else "GET"
    prefix = f"{line} /hello?name=lab HTTP/1.1\r\nHost: hello.default.example.com\r\n{fields}".encode()
    end_s = loop.time() + options.seconds
    clients = [
        Client(prefix, body, end_s, loop.create_future(), is_unique=options.unique_heads)
        for _ in range(options.connections)
    ]
    started_s = loop.time()
    await asyncio.gather(*(client.connect(loop, host, port) for client in clients))
    await asyncio.gather(*(client.done for client in clients))
    elapsed_s = loop.time() - started_s
    latencies = sorted(latency for client in clients for latency in client.latencies)
    return {
        "requests": len(latencies),
        "rate": len(latencies) / elapsed_s,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }


class Client(asyncio.Protocol):
    """One keep-alive connection: the next request goes out when the answer is whole."""

    def __init__(
        self, prefix: bytes, body: bytes, end_s: float, done: "asyncio.Future[None]", *, is_unique: bool
    ) -> None:
        self.latencies: list[float] = []
        self.done = done
        self._prefix = prefix
        self._body = body
        self._end_s = end_s
        self._is_unique = is_unique
        self._received = b""
        self._sent_s = 0.0
        self._count = 0

    async def connect(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        """Open the connection; the first request goes out at once."""
        await loop.create_connection(lambda: self, host, port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # uvloop's is not registered as one
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\nok"):
            return
        if not self._received.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(f"expected 200, got {self._received[:200]!r}"))
            self._transport.abort()
            return
        self._received = b""
        now_s = time.perf_counter()
        self.latencies.append(now_s - self._sent_s)
        if time.monotonic() < self._end_s:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the proxy closed the connection"))

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._count += 1
        extra = b"X-Trace: %x-%x\r\n" % (id(self), self._count) if self._is_unique else b""
        self._transport.write(self._prefix + extra + b"\r\n" + self._body)


@contextlib.contextmanager
def nginx(directory: Path, name: str, port: int, app_port: int, location: str, core: int) -> Iterator[int]:
    """Run nginx with one worker on `core`; yields the worker's process id. Raises `MissingTool`."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise MissingTool("nginx is not installed; it is the rival and the app (Debian: apt-get install nginx-light)")
    config = directory / f"{name}.conf"
    config.write_text(
        NGINX.format(directory=directory, name=name, host=HOST, port=port, app_port=app_port, location=location)
    )
    command = [binary, "-p", str(directory), "-c", str(config)]
    with running(command, core, {}) as master:
        wait_for_port(HOST, port)
        yield int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[0])


@contextlib.contextmanager
def queue_proxy(app_port: int, core: int) -> Iterator[int]:
    """Run queue-proxy on `core` with its breaker on; yields its process id."""
    env = {
        "CONTAINER_CONCURRENCY": "100",
        "QUEUE_SERVING_PORT": "8012",
        "QUEUE_SERVING_TLS_PORT": "8112",
        "USER_PORT": str(app_port),
        "REVISION_TIMEOUT_SECONDS": "300",
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "200",
        "REVISION_IDLE_TIMEOUT_SECONDS": "100",
        "KNUV_BIND_ADDRESS": PROXY_HOST,
    } | dict.fromkeys(
        [
            "SERVING_LOGGING_CONFIG",
            "SERVING_LOGGING_LEVEL",
            "SERVING_NAMESPACE",
            "SERVING_CONFIGURATION",
            "SERVING_REVISION",
            "SERVING_POD",
            "SERVING_POD_IP",
        ],
        "lab",
    )
    with running([sys.executable, "-m", "queue_proxy"], core, env) as pid:
        wait_for_port(PROXY_HOST, 8012)
        yield pid


@contextlib.contextmanager
def running(command: list[str], core: int, env: dict[str, str]) -> Iterator[int]:
    """Run a command in a process group of its own and end the group afterwards."""
    process = subprocess.Popen(
        command, env=env, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=lambda: pin(core)
    )
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def pin(core: int) -> None:
    """Keep the calling process on one core."""
    os.sched_setaffinity(0, {core})


def cpu_ns(pid: int) -> int:
    """CPU time that the process's main thread has used."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def rss_mib(pid: int) -> float:
    """Resident memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def free_port() -> int:
    """Return a port of `HOST` that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for_port(host: str, port: int) -> None:
    """Return when something accepts there."""
    end_s = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.01)
        else:
            return


def nginx_version() -> str:
    """Return what nginx calls itself."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or "nginx"
    return subprocess.run([binary, "-v"], check=True, capture_output=True, text=True).stderr.strip().rpartition(" ")[2]


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the rounds, and the spread of the CPU time."""
    figures = {key: statistics.median(round_[key] for round_ in rounds) for key in rounds[0]}
    costs = [round_["cpu_us"] for round_ in rounds]
    return {**figures, "cpu_us_min": min(costs), "cpu_us_max": max(costs)}


def report(result: dict[str, object]) -> None:
    """Print the figures for people."""
    print(f"{result['what']}; {result['machine']}; {result['versions']}; {result['date']}")
    figures = result["proxies"]
    assert isinstance(figures, dict)
    for key, each in figures.items():
        print(
            f"{key:12} {each['cpu_us']:6.1f} us CPU/request ({each['cpu_us_min']:.1f}-{each['cpu_us_max']:.1f})"
            f"  {each['rate']:7.0f}/s  p50 {each['p50_ms']:.2f} ms  p99 {each['p99_ms']:.2f} ms"
            f"  {each['rss_mib']:.1f} MiB"
        )
    print(f"ratio {result['ratio']} (budget {result['budget']})")
