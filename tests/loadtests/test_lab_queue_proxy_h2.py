"""The benchmark of queue-proxy on HTTP/2: every scenario runs, against nghttpx too, and its load can be trusted."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.lab.queue_proxy import apps
from loadtests.lab.queue_proxy_h2 import handshakes, wire
from loadtests.lab.queue_proxy_h2.command import main
from loadtests.lab.queue_proxy_h2.scenarios import SCENARIOS


def test_every_scenario_gives_its_figures_for_both_proxies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--against", "nghttpx", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [each["scenario"] for each in result["scenarios"]] == [each.name for each in SCENARIOS]
    for scenario in result["scenarios"]:
        assert set(scenario["proxies"]) == {"queue-proxy", "nghttpx"}
        assert {budget["verdict"] for budget in scenario["budgets"]} <= {"met", "MISSED", "-"}
        assert all(budget["value"] > 0 or budget["budget"] == 0 for budget in scenario["budgets"])
    assert "grpcio" in result["versions"]
    assert "nghttpx" in result["versions"]


def test_without_a_rival_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--only", "bidi-alone"]) == 0
    captured = capsys.readouterr()
    assert "bidi-alone     -        CPU per message: " in captured.out
    assert "multiple" not in captured.out


def test_a_rival_that_does_not_exist_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--against", "/no/such/program"]) == 2
    assert capsys.readouterr().err == "queue-proxy-h2: --against '/no/such/program': there is no such program\n"


class _CountingApp(wire.EchoApp):
    frames = 0

    def came(self, kind: int, flags: int, frame: bytes) -> None:
        type(self).frames += kind == 0
        super().came(kind, flags, frame)


@pytest.fixture
async def app_port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    _CountingApp.frames = 0
    async with apps.serving(_CountingApp) as port:
        monkeypatch.setattr(wire, "HOST", "127.0.0.1")
        monkeypatch.setattr(wire, "PORT", port)
        yield port


@pytest.mark.usefixtures("app_port")
async def test_an_echo_is_counted_when_it_has_been_to_the_app_and_back() -> None:
    async with wire.echoing(2, 3) as echoes:
        assert len(echoes.latencies_s) >= 6
        before, frames = len(echoes.latencies_s), _CountingApp.frames
        while len(echoes.latencies_s) < before + 600:
            assert not echoes.problems
            await asyncio.sleep(0)
        assert abs((len(echoes.latencies_s) - before) - (_CountingApp.frames - frames)) <= 6


@pytest.mark.usefixtures("app_port")
async def test_idle_connections_have_had_an_answer_or_it_is_a_problem() -> None:
    """The app of echoes never ends a response, so nobody hears of an end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_OPEN_S", 0.05)
        with pytest.raises(wire.LabError, match="2 streams have heard nothing"):
            async with wire.idle(2):
                pass


def test_resumed_connections_are_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = handshakes.certificates(tmp_path)
    assert handshakes.certificates(tmp_path) == folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    def serve(listener: socket.socket) -> None:
        for _ in range(6):
            with context.wrap_socket(listener.accept()[0], server_side=True) as sock:
                sock.recv(65_536)
                sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(handshakes, "HOST", "127.0.0.1")
        monkeypatch.setattr(handshakes, "TLS_PORT", listener.getsockname()[1])
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        assert handshakes.connect(3, is_resuming=False) == 0
        assert handshakes.connect(3, is_resuming=True) == 2
        server.join()
