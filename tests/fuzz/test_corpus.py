"""What fuzzing has kept holds for good: each corpus, and small changes to it that are the same each time."""

import random

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import main
from tests.fuzz.targets import TARGETS

_CHANGED = 200
_BYTES = b'\r\n \t:;,="\0\x7f\x80\xff0aA/#*'


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_keeps_its_targets_promise(name: str) -> None:
    for data in corpus.read(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_keep_it_too(name: str) -> None:
    chance = random.Random(name)
    kept = corpus.read(name)
    for _ in range(_CHANGED):
        data = _changed(chance, chance.choice(kept), chance.choice(kept))
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(f"the input was {data!r}")
            raise


def _changed(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """One of: a byte inserted, replaced, left out; a part repeated; the beginning of one and the end of another."""
    at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    byte = bytes([chance.choice(_BYTES)])
    return chance.choice(
        [
            data[:at] + byte + data[at:],
            data[:at] + byte + data[at + 1 :],
            data[:at] + data[at + 1 :],
            data[:to] + data[at:],
            data[:at] + other[chance.randrange(len(other) + 1) :],
        ]
    )


def test_without_atheris_fuzzing_says_so_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 0
    assert "fuzzing skipped: there is no atheris for" in capsys.readouterr().out


def test_the_runner_fuzzes_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("atheris", reason="no atheris for this platform")
    # The same inputs in every run: what others break is found by `make fuzz`, and not now and then in a change's tests.
    assert main(["--only", "forwarded", "--seconds", "60", "-seed=1", "-runs=500"]) == 0
    assert "forwarded: 500 inputs" in capsys.readouterr().out
