"""The benchmarks' common door."""

import subprocess
import sys

import pytest

from loadtests.lab.__main__ import main, names, summary


def test_every_benchmark_has_a_name_and_a_sentence() -> None:
    assert {"cold-start", "queue-proxy"} <= set(names())
    assert all(summary(name) for name in names())


def test_an_unknown_name_is_one_clear_line_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue_proxy"]) == 2
    err = capsys.readouterr().err
    assert "there is no benchmark 'queue_proxy'" in err
    assert "  queue-proxy   " in err


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_only_the_named_benchmark_is_imported() -> None:
    script = "import sys; from loadtests.lab.__main__ import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = {name for name in done.stdout.split() if name.startswith("loadtests.")}
    assert loaded == {"loadtests.lab", "loadtests.lab.__main__"}
