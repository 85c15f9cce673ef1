"""`knuv up`: what it makes of its options, and how it goes on as the stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_cluster import __main__, cli_up
from local_cluster.stack_config import StackConfig
from local_cluster.system import Components

CONFIGS = [
    StackConfig(http_port=8080, api_port=0, state_dir=Path("/s"), components=Components(eventing="journal")),
    StackConfig(
        http_port=0,
        api_port=6443,
        state_dir=Path("/s t/\udcffé"),
        keeps_state=True,
        network="netns",
        components=Components(frozenset({"controller", "gateway"}), {"activator": ("/a b", "-v=1")}, "none"),
        manifests=(Path("a.yaml"), Path("b.yaml")),
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_stacks_process_is_told_all_that_was_asked_for(config: StackConfig) -> None:
    assert StackConfig.from_json(config.to_json()) == config
    assert config.to_json().isascii()


def test_options_become_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[StackConfig] = []

    def become_stack(config: StackConfig) -> None:
        told.append(config)

    monkeypatch.setattr(cli_up, "become_stack", become_stack)
    monkeypatch.setenv("KNUV_STATE_DIR", "/s")
    for options in (
        [],
        [
            *("--http-port", "0", "--api-port", "6443", "--state-dir", "/s t/\udcffé", "--network", "netns"),
            *("--without", "controller,gateway", "--replace", "activator='/a b' -v=1", "--eventing", "none"),
            *("-f", "a.yaml", "--file", "b.yaml"),
        ],
    ):
        monkeypatch.setattr(sys, "argv", ["knuv", "up", *options])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        assert ended.value.code == 0
    assert told == CONFIGS


def test_a_wrong_option_is_told_with_the_commands_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["knuv", "up", "--network", "wireless"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 2
    assert "Usage: knuv up" in capsys.readouterr().err


def test_the_process_goes_on_as_the_stack(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    command = [sys.executable, "-m", "local_cluster", "up", "--state-dir", str(taken)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"knuv: --state-dir {taken}: ")


def test_a_stack_outlives_whoever_reads_what_it_says() -> None:
    script = f"""
import sys
from local_cluster import stack, up
def run(config, say):
    say("up")
    say("stopping")
    sys.stderr.write("ended in order")
stack.run = run
sys.argv[1:] = [{CONFIGS[0].to_json()!r}]
sys.exit(up.main())
"""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "ended in order")


def test_what_reads_a_command_line_is_not_loaded_by_a_stack() -> None:
    script = """
import sys
from kube import lean_imports
lean_imports.postpone()
import local_cluster.stack
print(*(name for name in sys.modules if "." not in name))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "local_cluster" in loaded
    assert not loaded & {"typer", "rich", "pydantic", "pydantic_core", "pygments"}


@pytest.mark.parametrize(("nohup", "ended_by"), [(False, "SIGHUP"), (True, "SIGTERM")])
def test_a_stack_ends_with_its_terminal_unless_it_was_started_not_to(nohup: bool, ended_by: str) -> None:
    script = f"""
import asyncio, os, signal
from local_cluster import stack
if {nohup}:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
class Stack:
    def __init__(self, config, say, host): pass
    async def start(self):
        number = signal.SIGTERM if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else signal.SIGHUP
        print(number.name)
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()
    async def stop(self): pass
stack.Stack = Stack
stack.run(stack.StackConfig.from_json({CONFIGS[0].to_json()!r}), print)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [ended_by, "stopping"]
