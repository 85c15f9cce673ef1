"""An app that takes orders: answers any request with its name, after `?sleep=MILLISECONDS` if asked."""

import os
import socketserver
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Orders(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    name = b""
    wbufsize = -1
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Any method is an order."""
        is_well_formed = super().parse_request()
        self.command = "GET"
        return is_well_formed

    def do_GET(self) -> None:
        """Wait as long as asked, then answer."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(urlsplit(self.path).query)
        time.sleep(int(query.get("sleep", ["0"])[0]) / 1000)
        body = self.name
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing per request."""


class Server(ThreadingHTTPServer):
    """A thread per connection."""

    request_queue_size = 1024
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


def main(environ: Mapping[str, str]) -> None:
    """Serve on $PORT as $TARGET."""
    Orders.name = environ.get("TARGET", "").encode()
    Server(("127.0.0.1", int(environ["PORT"])), Orders).serve_forever()


if __name__ == "__main__":
    main(os.environ)  # noqa: TID251
