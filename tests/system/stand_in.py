"""A program in the place of one of Knative's: listens where the original does, and tells what it found around itself.

stand_in.py PORT...      prints one line of JSON, then answers every HTTP request with 200 until SIGTERM
"""

# ruff: noqa: TID251 - it tells its environment

import http.server
import json
import os
import socket
import ssl
import sys
import threading
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Server(http.server.ThreadingHTTPServer):
    """A fixed port on every address, as Go programs listen; where all pods share one network, on the pod's only."""

    address_family = socket.AF_INET
    daemon_threads = True


class Answer(http.server.BaseHTTPRequestHandler):
    """200 to everything; `/found` tells again."""

    def do_GET(self) -> None:
        body = FOUND if self.path == "/found" else b"ok"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def api(path: str) -> object:
    """What the API answers to the identity of the in-cluster files."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    body = b'{"kind": "SelfSubjectReview"}' if path.endswith("reviews") else None
    request = urllib.request.Request(f"https://{host}:{port}{path}", data=body, headers=headers)
    with urllib.request.urlopen(request, context=context, timeout=5) as response:
        return json.loads(response.read())


def resolved(name: str) -> str:
    """The address of a name, or why there is none."""
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        return str(error)


def found() -> dict[str, object]:
    """Everything an original relies on."""
    files = {path.name: path.read_text() for path in ACCOUNT.iterdir() if path.is_file()} if ACCOUNT.is_dir() else {}
    namespace = os.environ.get("SYSTEM_NAMESPACE", "knative-serving")
    answers: dict[str, object] = {}
    if files:
        review = api("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        answers["user"] = review["status"]["userInfo"]["username"]  # type: ignore[index]
        listed = api(f"/api/v1/namespaces/{namespace}/configmaps")
        answers["config_maps"] = sorted(item["metadata"]["name"] for item in listed["items"])  # type: ignore[index]
    return {
        "env": dict(os.environ),
        "files": {name: len(text) for name, text in files.items()},
        "namespace": files.get("namespace", ""),
        "resolver": Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else "",
        "autoscaler": resolved(f"autoscaler.{namespace}.svc.cluster.local"),
        "hostname": socket.gethostname(),
        "kubeconfig_names_a_server": "server" in Path(os.environ.get("KUBECONFIG", os.devnull)).read_text(),
        **answers,
    }


if __name__ == "__main__":
    FOUND = json.dumps(found()).encode()
    address = os.environ.get("KNUV_BIND_ADDRESS", "0.0.0.0")
    for port in map(int, sys.argv[1:]):
        threading.Thread(target=Server((address, port), Answer).serve_forever, daemon=True).start()
    print(FOUND.decode(), flush=True)
    threading.Event().wait()
