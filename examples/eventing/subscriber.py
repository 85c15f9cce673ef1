"""A subscriber of events in three roles: `ROLE` is `display`, `answer` or `fail`.

Events come as POST requests whose headers `Ce-*` are their attributes. `display` keeps what it gets and shows it at
`GET /`, `answer` replies to each event with one of type `bar`, `fail` refuses everything with 500.
"""

import json
import os
import socketserver
import uuid
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8080"))
ROLE = os.environ.get("ROLE", "display")
SEEN: deque[dict[str, object]] = deque(maxlen=100)


class Subscriber(BaseHTTPRequestHandler):
    """One connection; the base class calls a `do_` method per request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The events of late, the last one first."""
        self._respond(200, json.dumps(list(SEEN), indent=2).encode() + b"\n", {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        """One event."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        event = {name.lower()[3:]: value for name, value in self.headers.items() if name.lower().startswith("ce-")}
        event["data"] = body.decode("utf-8", "replace")
        print(json.dumps(event), flush=True)
        if ROLE == "fail":
            self._respond(500, b"this subscriber takes nothing\n", {})
        elif ROLE == "answer":
            answer = {
                "Ce-Specversion": "1.0",
                "Ce-Id": str(uuid.uuid4()),
                "Ce-Type": "bar",
                "Ce-Source": "/examples/answer",
                "Ce-Answersto": event.get("id", ""),
                "Content-Type": "application/json",
            }
            self._respond(200, json.dumps({"heard": event["data"]}).encode(), answer)
        else:
            SEEN.appendleft(event)
            self._respond(202, b"", {})

    def _respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The events are told instead."""


class Server(ThreadingHTTPServer):
    """A thread per connection."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


if __name__ == "__main__":
    Server(("127.0.0.1", PORT), Subscriber).serve_forever()
