"""Carrying out probes and lifecycle hooks: HTTP, TCP, gRPC, a command, a pause.

What counts as success is the kubelet's: a status from 200 to 399, an accepted connection, SERVING, exit code 0.
Certificates are not checked.
"""

import asyncio
import os
import re
import signal
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kube.models.core import ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe
from local_cluster.guardian import Guardian
from local_cluster.node.grpc_health import HealthCheck
from local_cluster.node.process import StartError, find_executable

__all__ = ["ProbeFailed", "ProbeTarget", "run_hook", "run_probe"]

PROBE_AGENT = "kube-probe/1.34"
_HOOK_AGENT = "kube-lifecycle/1.34"
_HEAD_BYTES_MAX = 64 << 10
_OUTPUT_BYTES_MAX = 10 << 10
"""How much of a command's output or of an answer's body is read."""
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)


class ProbeFailed(Exception):
    """The attempt failed; the text is the kubelet's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """The container that is probed."""

    address: Callable[[str, int | str], tuple[str, int]]
    """(host or empty, port number or name) -> where to connect. Raises `ProbeFailed` for an unknown port name."""
    env: Mapping[str, str]
    cwd: str
    guardian: Guardian | None
    inside: Callable[[list[str]], tuple[list[str], bytes]] | None = None
    """For a container with a root or a user of its own: command -> (command line, its stdin) that runs it in there."""


async def run_probe(probe: Probe, target: ProbeTarget, timeout_s: float) -> None:
    """One attempt. Raises `ProbeFailed`."""
    try:
        async with asyncio.timeout(timeout_s):
            if probe.http_get is not None:
                await _http_probe(probe.http_get, target)
            elif probe.tcp_socket is not None:
                await _tcp_probe(*target.address(probe.tcp_socket.host, probe.tcp_socket.port))
            elif probe.exec is not None:
                await _run_command(probe.exec, target)
            elif probe.grpc is not None:
                await _grpc_probe(probe.grpc, target)
    except TimeoutError as error:
        raise ProbeFailed(f"context deadline exceeded: no answer within {timeout_s:g} s") from error


async def run_hook(hook: LifecycleHandler, target: ProbeTarget) -> None:
    """Run a hook to its end; any HTTP answer is a success. Raises `ProbeFailed`."""
    if hook.http_get is not None:
        await _http_get(hook.http_get, target, _HOOK_AGENT)
    elif hook.exec is not None:
        await _run_command(hook.exec, target)
    elif hook.sleep is not None:
        await asyncio.sleep(float(hook.sleep.get("seconds", 0)))


async def _http_probe(action: HTTPGetAction, target: ProbeTarget) -> None:
    status = await _http_get(action, target, PROBE_AGENT)
    if not 200 <= status < 400:
        raise ProbeFailed(f"HTTP probe failed with statuscode: {status}")


async def _http_get(action: HTTPGetAction, target: ProbeTarget, agent: str) -> int:
    """GET, HTTP/1.1, one connection; the status."""
    host, port = target.address(action.host, action.port)
    path = action.path if action.path.startswith("/") else "/" + action.path
    headers = {"host": f"{host}:{port}", "user-agent": agent, "accept": "*/*", "connection": "close"}
    headers |= {h.get("name", "").lower(): h.get("value", "") for h in action.http_headers}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    tls = _unchecked_tls() if action.scheme.upper() == "HTTPS" else None
    where = f'Get "{action.scheme.lower() or "http"}://{host}:{port}{path}"'
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=_HEAD_BYTES_MAX)
        try:
            writer.write("\r\n".join(lines).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            while head[9:10] == b"1" and head[9:12] != b"101":  # an informational answer
                head = await reader.readuntil(b"\r\n\r\n")
            length = _CONTENT_LENGTH.search(head)
            if length is not None and int(length[1]) <= _OUTPUT_BYTES_MAX:
                await reader.readexactly(int(length[1]))  # so that the server is not cut off while it answers
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ProbeFailed(f"{where}: {_cause(error, host, port)}") from error
    status_line = head.partition(b"\r\n")[0]
    parts = status_line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise ProbeFailed(f"{where}: malformed HTTP response {status_line[:80]!r}")
    return int(parts[1])


async def _tcp_probe(host: str, port: int) -> None:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise ProbeFailed(_cause(error, host, port)) from error
    writer.close()


async def _grpc_probe(action: GRPCAction, target: ProbeTarget) -> None:
    host, port = target.address("", action.port)
    check = HealthCheck(action.service or "", f"{host}:{port}", PROBE_AGENT)
    try:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(check.request)
            while not check.is_done and (data := await reader.read(_HEAD_BYTES_MAX)):
                writer.write(check.receive(data))
        finally:
            writer.close()
    except OSError as error:
        raise ProbeFailed(f"failed to connect service: {_cause(error, host, port)}") from error
    if not check.is_serving:
        raise ProbeFailed(f"service unhealthy: {host}:{port} did not answer SERVING for {action.service or ''!r}")


async def _run_command(action: ExecAction, target: ProbeTarget) -> None:
    """Run a command beside the container, with its environment and folder."""
    if not action.command:
        raise ProbeFailed("the command is empty")
    command, told, cwd = action.command, b"", target.cwd
    try:
        if target.inside is not None:
            (command, told), cwd = target.inside(command), "/"
        else:
            command = [find_executable(command[0], target.env.get("PATH", os.defpath), cwd), *command[1:]]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if told else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(target.env),
            cwd=cwd,
            start_new_session=True,
        )
    except StartError as error:
        raise ProbeFailed(str(error)) from error
    except OSError as error:
        raise ProbeFailed(f'exec: "{action.command[0]}": {error.strerror or error}') from error
    if target.guardian is not None:
        target.guardian.add(process.pid)
    try:
        assert process.stdout is not None
        if process.stdin is not None:
            process.stdin.write(told)
            process.stdin.close()
        output = await process.stdout.read(_OUTPUT_BYTES_MAX)
        while await process.stdout.read(_OUTPUT_BYTES_MAX):
            continue
        code = await process.wait()
    finally:
        _kill_group(process.pid)
        await process.wait()
        if target.guardian is not None:
            target.guardian.remove(process.pid)
    if code != 0:
        text = output.decode("utf-8", "replace").strip()
        raise ProbeFailed(text or f"command ended with exit code {code}")


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _unchecked_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _cause(error: Exception, host: str, port: int) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {host}:{port}: connect: connection refused"
    if isinstance(error, asyncio.IncompleteReadError):
        return "EOF"
    return str(error) or type(error).__name__
