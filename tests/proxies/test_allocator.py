"""`proxies/allocator.py`: large blocks go back to the system, also after larger ones were freed."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from proxies.allocator import keep_heap_compact

def resident_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

if sys.argv[1] == "compact":
    keep_heap_compact()
bytes(8 << 20)  # freed at once: from now on glibc would keep as much on its heap
before = resident_kib()
large, small = [], []
for _ in range(20):
    large.append(b"x" * (1 << 20))
    small.append(b"y" * 4000)  # stays, behind the large block
del large
print(resident_kib() - before)
"""


def growth_kib(word: str) -> int:
    run = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_blocks_do_not_stay_behind_small_ones() -> None:
    assert growth_kib("compact") < 4000 < growth_kib("plain")
