"""What an image is made of: files of programs, bytecode, layers."""

import gzip
import io
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy.images.bytecode import with_bytecode
from deploy.images.elf import anonymous, is_elf, shared_libraries, stripped
from deploy.images.layers import pack
from deploy.images.tree import File, Symlink, merged, unpack

INTERPRETER = Path(sys.executable).resolve()


def test_a_stripped_program_has_no_sections_and_still_runs(tmp_path: Path) -> None:
    data = stripped(Path("/bin/true").read_bytes())
    assert struct.unpack_from("<Q", data, 0x28) == (0,)
    program = tmp_path / "true"
    program.write_bytes(data)
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == 0
    assert stripped(data) == data


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_program_of_this_kind_is_left_alone(data: bytes) -> None:
    assert not is_elf(data)
    assert stripped(data) == data


def test_a_folder_of_the_build_machine_is_made_meaningless_without_moving_a_byte() -> None:
    data = b"\0/home/me/python/3.11.7/lib\0" + b"/home/me/python/3.11.7:/home/me/python/3.11.7/x\0"
    changed = anonymous(data, "/home/me/python/3.11.7")
    assert len(changed) == len(data)
    assert b"/home" not in changed
    # The end of the string may be a string of its own.
    assert changed.endswith(b"/3.11.7/x\0")
    assert changed.startswith(b"\0/usr////////////3.11.7/lib\0".replace(b"////////////", b"/" * 12))


def test_the_place_of_a_systems_interpreter_stays() -> None:
    assert anonymous(b"/usr/lib\0", "/usr") == b"/usr/lib\0"


def test_the_libraries_of_an_interpreter_are_found_with_its_loader() -> None:
    found = shared_libraries([INTERPRETER, Path("/bin/true")])
    assert any(name.startswith("libc.so") for name in found)
    assert any(name.startswith("/lib") and "ld-linux" in name for name in found)
    assert all(path.is_file() for path in found.values())


def test_bytecode_is_loaded_whatever_the_time_stamps_say(tmp_path: Path) -> None:
    tree = with_bytecode(
        {"one.py": File(b"def where():\n    raise ValueError\n"), "broken.py": File(b"def ("), "x.txt": File(b"")}
    )
    assert len([path for path in tree if path.endswith(".pyc")]) == 1
    unpack(tree, tmp_path)
    # Only the bytecode can answer: the source is spoilt.
    (tmp_path / "one.py").write_text("raise SystemExit('the source was read')")
    program = (
        "import one\ntry: one.where()\nexcept ValueError as e: print(e.__traceback__.tb_next.tb_frame.f_code.co_name)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "where"


def test_a_layer_is_the_same_in_any_order_and_at_any_time() -> None:
    one = {"b/x": File(b"1"), "a": Symlink("b/x"), "b/c/y": File(b"2", is_executable=True)}
    other = dict(reversed(one.items()))
    assert pack(one) == pack(other)
    assert pack(one).digest != pack(one, time_s=1).digest
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(pack(one).data))) as archive:
        entries = list(archive)
    assert [(entry.name, oct(entry.mode)) for entry in entries] == [
        ("a", "0o777"),
        ("b", "0o755"),
        ("b/c", "0o755"),
        ("b/c/y", "0o755"),
        ("b/x", "0o644"),
    ]


def test_two_packages_may_bring_the_same_file_but_not_two_different_ones() -> None:
    assert merged({"a": File(b"1")}, {"a": File(b"1")}) == {"a": File(b"1")}
    with pytest.raises(ValueError, match=r"^a: two packages"):
        merged({"a": File(b"1")}, {"a": File(b"2")})
