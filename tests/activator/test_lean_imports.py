"""What `python -m activator` loads of aiohttp, in an interpreter of its own."""

import subprocess
import sys

CHECK = """
import ssl, sys
made = ssl.create_default_context
from activator.lean_imports import import_aiohttp
import_aiohttp()
assert "urllib.request" not in sys.modules
assert ssl.create_default_context is made
from aiohttp import connector
context = connector._SSL_CONTEXT_VERIFIED
assert (context.get_ca_certs(), context.verify_mode, context.check_hostname) == ([], ssl.CERT_REQUIRED, True)
import activator.app
import urllib.request
assert urllib.request.urlopen
print("fine")
"""


def test_the_systems_certificates_and_proxies_are_left_out_and_nothing_stays_replaced() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "fine\n"
