"""What is done to ELF files on their way into an image, and which shared libraries they need.

The loader and the dynamic linker read the program headers and what these name; symbol tables, debug information and the
section headers that lead to them are for linkers and debuggers, and two thirds of an interpreter that was built from
source. They stand behind everything that is loaded, so cutting the file there and saying that it has no sections
removes them (elf(5)). Paths of the build machine are made meaningless in place.
"""

import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

__all__ = ["MissingLibrary", "anonymous", "is_elf", "shared_libraries", "stripped"]

_MAGIC = b"\x7fELF"
_64_BIT, _LITTLE_ENDIAN = 2, 1
# Offsets of the 64-bit header's fields (elf(5), Elf64_Ehdr).
_E_PHOFF, _E_SHOFF, _E_PHENTSIZE, _E_SHNUM = 0x20, 0x28, 0x36, 0x3C
_LINE = re.compile(r"\s*(?P<name>\S+) => (?P<path>/\S+|not found)|\s*(?P<loader>/\S+) \(0x")


class MissingLibrary(Exception):
    """A shared library that a file needs is not on this machine."""


def is_elf(data: bytes) -> bool:
    """Whether these bytes begin as a 64-bit little-endian ELF file: x86-64 and aarch64 as Linux runs them."""
    return data[:4] == _MAGIC and data[4:6] == bytes([_64_BIT, _LITTLE_ENDIAN])


def stripped(data: bytes) -> bytes:
    """The file without what no loader reads. Anything but such an ELF file is returned as it is."""
    if not is_elf(data):
        return data
    (table,) = struct.unpack_from("<Q", data, _E_PHOFF)
    size, count = struct.unpack_from("<HH", data, _E_PHENTSIZE)
    end = table + size * count
    for index in range(count):
        # Elf64_Phdr: type, flags, offset, virtual and physical address, size in the file.
        _type, _flags, offset, _virtual, _physical, length = struct.unpack_from("<IIQQQQ", data, table + index * size)
        end = max(end, offset + length)
    kept = bytearray(data[:end])
    struct.pack_into("<Q", kept, _E_SHOFF, 0)
    struct.pack_into("<HH", kept, _E_SHNUM, 0, 0)
    return bytes(kept)


def anonymous(data: bytes, path: str) -> bytes:
    """With the folder that `path` is in called `/usr` wherever the file mentions it, in the same number of bytes.

    The last name of the path stays: linkers let one string be the end of another, so the interpreter's version may be
    the last bytes of the path that it is installed at.
    """
    folder, _, name = path.rpartition("/")
    neutral = "/usr".ljust(len(folder), "/")
    if len(neutral) > len(folder):
        return data  # a folder of the root says nothing about the machine
    return data.replace(f"{folder}/{name}".encode(), f"{neutral}/{name}".encode())


def shared_libraries(paths: Iterable[Path]) -> dict[str, Path]:
    """Name -> file of every shared library that the ELF files need on this machine; the loader has its path for a name.

    Asks the loader itself (`ldd`), so only files that are trusted may be given. Raises `MissingLibrary`.
    """
    names = [str(path) for path in paths]
    # LC_ALL: the texts are matched. A file that is linked statically is no error for us, but it is one for ldd.
    told = subprocess.run(["ldd", *names], check=False, capture_output=True, text=True, env={"LC_ALL": "C"})
    found: dict[str, Path] = {}
    subject = names[0] if names else ""
    for line in told.stdout.splitlines():
        if line.endswith(":") and not line.startswith(("\t", " ")):
            subject = line[:-1]
        match = _LINE.match(line)
        if match is None:
            continue
        if match["path"] == "not found":
            raise MissingLibrary(f"{subject} needs {match['name']}, which is not on this machine: install its package")
        if match["loader"]:
            found[match["loader"]] = Path(match["loader"])
        else:
            found[match["name"]] = Path(match["path"])
    return found
