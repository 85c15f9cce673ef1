"""Load by locust as a process of its own: every arrival is counted, and what ended how is told by the exit code."""

import http.server
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.locust.samples import read_samples

FOLDER = Path(__file__).parents[2] / "loadtests" / "locust"


class Server(http.server.ThreadingHTTPServer):
    """Answers, but the third request with 500, and the fifth not before it is closed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.count = 0
        self.closed = threading.Event()

    def next(self) -> int:
        with self.lock:
            self.count += 1
            return self.count


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        number = self.server.next()
        if number == 5:
            self.server.closed.wait()
            self.close_connection = True
            return
        self.send_response(500 if number == 3 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    found.closed.set()
    found.shutdown()
    thread.join()
    found.server_close()


def locust(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "locust", "-f", str(FOLDER / name), "--headless", "--only-summary", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=110)


def test_arrivals_do_not_wait_for_answers_and_none_goes_uncounted(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    place = ("--host", f"http://127.0.0.1:{server.server_port}")
    done = locust("ramp.py", *place, "--rate", "20", "-t", "1s", "--stop-timeout", "1", "--samples", str(file))
    assert done.returncode == 1, done.stderr
    assert re.search(r"locust used \d+% of a core.*, and woke up to \d+ ms late", done.stdout)
    samples = read_samples(file)
    problems = Counter(sample.problem for sample in samples)
    assert len(samples) == server.count > 5
    assert problems == {
        "": server.count - 2,
        "RuntimeError: status 500": 1,
        "RuntimeError: no answer when the test ended": 1,
    }
