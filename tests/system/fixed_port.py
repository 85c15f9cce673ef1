"""An app that binds port 8080 whatever it is told, as many do, and says where it runs and what it can reach.

GET /             its host name and address
GET /fetch?NAME   what NAME's port 80 answers, and the address that NAME has
"""

import http.server
import socket
import urllib.error
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, name = self.path.partition("?")
        text = self.fetch(name) if path == "/fetch" else f"{socket.gethostname()} {address(socket.gethostname())}"
        body = text.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fetch(self, name: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{name}/", timeout=5) as answer:
                return f"{address(name)} {answer.status} {answer.read().decode()}"
        except (OSError, urllib.error.URLError) as error:
            return f"{address(name)} {error}"

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def address(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
