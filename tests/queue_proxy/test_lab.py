"""The benchmark of queue-proxy runs, so that it cannot rot; its figures mean nothing here."""

import json
import shutil
import subprocess
import sys

import pytest

from loadtests.lab import queue_proxy

COMMAND = [sys.executable, "-m", "loadtests.lab", "queue-proxy"]
HAS_NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@pytest.mark.skipif(not HAS_NGINX, reason="nginx is the rival and the app")
@pytest.mark.parametrize("options", [[], ["--unique-heads"], ["--body-bytes", "16384"]], ids=["get", "unique", "post"])
def test_the_benchmark_prints_both_figures_and_their_ratio(options: list[str]) -> None:
    done = subprocess.run([*COMMAND, "--quick", "--json", *options], check=True, stdout=subprocess.PIPE)
    result = json.loads(done.stdout)
    figures = result["proxies"]
    assert all(figures[name]["cpu_us"] > 0 and figures[name]["requests"] > 0 for name in ("nginx", "queue-proxy"))
    assert result["ratio"] == pytest.approx(figures["queue-proxy"]["cpu_us"] / figures["nginx"]["cpu_us"], abs=0.01)


def test_a_missing_rival_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    assert queue_proxy.main(["--quick"]) == 2
    assert "nginx is not installed" in capsys.readouterr().err
