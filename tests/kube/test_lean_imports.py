"""What the services have not loaded when they begin, each in an interpreter of its own."""

import json
import subprocess
import sys

import pytest

LOADED = """
import json, sys
from kube import lean_imports
lean_imports.postpone()
import {module}, uvloop
print(json.dumps([name for name, module in sys.modules.items() if getattr(module, "__spec__", None) is not None]))
"""
POSTPONED = {
    "ast",
    "dis",
    "inspect",
    "tokenize",
    "typing_extensions",
    "importlib.metadata",
    "urllib.request",
    "zipfile",
}


@pytest.mark.parametrize("service", ["activator", "autoscaler", "controller", "gateway"])
def test_what_a_service_does_not_use_is_not_loaded(service: str) -> None:
    script = LOADED.format(module=f"{service}.app")
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    loaded = set(json.loads(done.stdout))
    assert f"{service}.app" in loaded
    assert not loaded & POSTPONED
    assert "aiohttp" not in loaded


USED = """
import sys
from kube import lean_imports
lean_imports.postpone()
import importlib, typing, urllib
import urllib.request
proxies = urllib.request
assert proxies.__spec__ is None
assert urllib.request.getproxies() is not None
assert urllib.request is sys.modules["urllib.request"] is not proxies and proxies.Request is urllib.request.Request
import importlib.metadata
assert importlib.metadata.version("uvloop")
from typing_extensions import NotRequired, TypedDict
assert NotRequired is typing.NotRequired and TypedDict.__module__ == "typing_extensions"
print("fine")
"""


def test_what_is_used_after_all_is_the_real_module() -> None:
    done = subprocess.run([sys.executable, "-c", USED], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "fine\n"
