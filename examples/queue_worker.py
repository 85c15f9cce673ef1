"""A server that works on one request at a time and says how many wait: scaled by its queue, not by its connections.

`GET /` waits for its turn, takes `WORK_MS` (default 200) and answers. `GET /metrics` tells `jobs_waiting` in
Prometheus' text format. Listens on $PORT; `queue_worker.yaml` has the annotations.
"""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORK_S = int(os.environ.get("WORK_MS", "200")) / 1000
PORT = int(os.environ.get("PORT", "8080"))


class Queue:
    """One worker, and how many wait for it."""

    def __init__(self) -> None:
        self.waiting = 0
        self._counting = threading.Lock()
        self._worker = threading.Lock()

    def work(self) -> None:
        """Wait for the worker and use it."""
        with self._counting:
            self.waiting += 1
        with self._worker:
            with self._counting:
                self.waiting -= 1
            time.sleep(WORK_S)


QUEUE = Queue()


class Worker(BaseHTTPRequestHandler):
    """One connection; the base class calls `do_GET` per request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """A job, or the figures."""
        if self.path == "/metrics":
            self._answer("text/plain; version=0.0.4", f"# TYPE jobs_waiting gauge\njobs_waiting {QUEUE.waiting}\n")
        else:
            QUEUE.work()
            self._answer("text/plain; charset=utf-8", "done\n")

    def _answer(self, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing per request."""


class Server(ThreadingHTTPServer):
    """A thread per connection, and room for a burst of them."""

    request_queue_size = 1024
    daemon_threads = True


if __name__ == "__main__":
    Server(("", PORT), Worker).serve_forever()
