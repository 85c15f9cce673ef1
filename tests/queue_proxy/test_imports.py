"""What queue-proxy loads before it listens: each module is paid for in every cold start."""

import subprocess
import sys

LOADED = """
import sys
import uvloop
base = set(sys.modules)
import queue_proxy.__main__
print(*sorted(set(sys.modules) - base))
"""

ALLOWED = {"_bisect", "_json", "bisect", "copy", "dataclasses", "json", "resource"}
"""Beyond what uvloop and asyncio load. `json` reads probes and writes logs.
`resource` asks for the limit of open files."""


def test_it_loads_nothing_but_itself_the_engine_and_a_few_small_modules() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, stdout=subprocess.PIPE)
    loaded = {name.partition(".")[0] for name in done.stdout.decode().split()}
    assert loaded - ALLOWED <= {"proxies", "queue_proxy"}
