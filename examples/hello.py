"""A small HTTP server: `Hello World!`, after `?sleep=MILLISECONDS` if asked. Listens on $PORT, as Knative asks."""

import json
import os
import socketserver
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TARGET = os.environ.get("TARGET", "World")
PORT = int(os.environ.get("PORT", "8080"))


class Hello(BaseHTTPRequestHandler):
    """One connection; the base class calls `do_GET` per request."""

    protocol_version = "HTTP/1.1"
    # Head and body in one write: in two, the second waits up to 40 ms for the first's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Wait as long as asked, then greet."""
        query = parse_qs(urlsplit(self.path).query)
        time.sleep(min(int(query.get("sleep", ["0"])[0]), 60_000) / 1000)
        body = f"Hello {TARGET}!\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing per request."""


class Server(ThreadingHTTPServer):
    """A thread per connection, and room for a burst of them."""

    request_queue_size = 1024
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


if __name__ == "__main__":
    server = Server(("127.0.0.1", PORT), Hello)
    print(json.dumps({"message": "listening", "at": time.time(), "port": PORT}), flush=True)
    server.serve_forever()
