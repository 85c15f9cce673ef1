"""`local_cluster/node/pod_networks.py`, in a process that has left the machine's network."""

import os
import subprocess
import sys

import pytest

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
CHURN = """
import fcntl, os, socket, struct, time
from local_cluster.node.pod_networks import PodNetworks, enter_own_network

def address():
    with socket.socket() as asked:
        return fcntl.ioctl(asked, 0x8927, struct.pack("16s24x", b"knuv0"))[18:24].hex(":")

def links():
    return [name for _, name in socket.if_nameindex() if name.startswith("pod")]

enter_own_network()
networks = PodNetworks()
seen = {address()}
while not networks.prepare():
    seen.add(address())
assert len(links()) == 3
for round in range(8):
    pods = [networks.create(f"10.244.1.{round * 5 + number + 1}") for number in range(5)]
    networks.prepare()
    seen.add(address())
    with networks.make_socket(pods[0]) as inside, socket.create_server((networks.gateway, 0)) as server:
        inside.settimeout(5)
        inside.connect(server.getsockname())
    for pod in pods:
        networks.remove(pod)
    deadline = time.monotonic() + 10
    while len(links()) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)  # the kernel takes them away in its own time
    seen.add(address())
assert len(seen) == 1, seen
descriptors = len(os.listdir("/proc/self/fd"))
networks.close()
print("closed", descriptors - len(os.listdir("/proc/self/fd")))
"""


@ROOT
def test_the_bridge_keeps_its_address_while_pods_come_and_go() -> None:
    done = subprocess.run([sys.executable, "-c", CHURN], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("closed ")
    assert int(done.stdout.split()[1]) >= 3
