"""What waits to become a container, in an interpreter of its own: how little it loads, and how it ends."""

import subprocess
import sys
from pathlib import Path

CHILD = Path(__file__).parents[3] / "local_cluster" / "node" / "sandbox_child.py"


def test_what_waits_has_loaded_little_and_ends_with_its_input() -> None:
    command = [sys.executable, "-I", "-S", "-X", "importtime", str(CHILD)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "local_cluster.node.linux" in loaded
    assert not loaded & {"json", "re", "typing", "pathlib", "enum"}
