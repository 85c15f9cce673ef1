"""All images, as `make images` has built them: sizes, contents, and each component started from its own files."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.images.components import COMPONENTS, USER, Component, entrypoint
from deploy.images.packages import ROOT
from tests.deploy.layouts import Image, read_layout

COMPRESSED_BYTES_MAX = {"queue-proxy": 25_000_000}
COMPRESSED_BYTES_MAX_OTHERWISE = 45_000_000

pytestmark = [
    # In the scope of the file: all tests of one component after another, so that its image is unpacked once.
    pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name, scope="module"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def image(images: Path, component: Component) -> Image:
    return read_layout(images / component.name)


@pytest.fixture(scope="module")
def lowest(images: Path) -> dict[str, Any]:
    """What is known of the lowest layer of one of them."""
    layer: dict[str, Any] = read_layout(images / "queue-proxy").manifest["layers"][0]
    return layer


@pytest.fixture(scope="module")
def chroot(image: Image, component: Component, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Words before a command that run it as the image's user among the image's files."""
    program = shutil.which("chroot")
    if program is None or os.geteuid() != 0:
        pytest.skip("only root may change its root directory, with chroot: the image's programs were not run")
    root = tmp_path_factory.mktemp(component.name)
    # mktemp makes it for its owner alone, and the component runs as somebody else.
    for folder in (root, root.parent):
        folder.chmod(0o755)
    image.unpack(root)
    yield [program, f"--userspec={image.config['config']['User']}", str(root)]
    shutil.rmtree(root)


AGAIN = """
import sys
from pathlib import Path
from deploy.images.build import Builder
from deploy.images.components import COMPONENTS
builder = Builder(compression=1)
for component in COMPONENTS:
    builder.build(component, Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def again(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them once more, in another process, where sets have another order, and packed in a hurry."""
    folder = tmp_path_factory.mktemp("again")
    subprocess.run([sys.executable, "-c", AGAIN, str(folder)], check=True, capture_output=True, cwd=ROOT, timeout=600)
    return folder


def test_a_node_pulls_little(image: Image, component: Component) -> None:
    assert image.compressed_bytes <= COMPRESSED_BYTES_MAX.get(component.name, COMPRESSED_BYTES_MAX_OTHERWISE)


def test_the_lowest_layer_is_the_same_in_all(lowest: dict[str, Any], image: Image) -> None:
    assert image.manifest["layers"][0] == lowest


def test_it_is_told_apart_and_runs_without_privileges(image: Image, component: Component) -> None:
    config = image.config["config"]
    assert image.name.partition(":")[0] == component.name
    assert config["User"] == USER
    assert config["Entrypoint"] == entrypoint(component)
    assert set(config["ExposedPorts"]) == {f"{port}/tcp" for port in component.ports}
    assert config["Labels"]["org.opencontainers.image.title"] == component.name
    assert config["Labels"]["org.opencontainers.image.description"] == component.description


def test_it_holds_its_own_packages_with_their_bytecode_no_shell_and_no_other_component(
    image: Image, component: Component
) -> None:
    entries = image.entries
    names = {path.rpartition("/")[2] for path in entries}
    assert names & {"sh", "bash", "dash", "busybox", "env", "pip", "setuptools", "apt", "idlelib"} == set()
    ours = {package for each in COMPONENTS for package in each.packages}
    inside = {match[1] for path in entries if (match := re.search(r"/site-packages/(\w+)/__init__\.py$", path))}
    assert ours & inside == set(component.packages)
    tag = sys.implementation.cache_tag
    sources = [path.rpartition("/") for path in entries if path.endswith(".py")]
    assert all(f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc" in entries for folder, _, name in sources)
    assert not [path for path, entry in entries.items() if not entry.issym() and entry.mode & 0o022]
    assert not [path for path, entry in entries.items() if entry.mode & 0o7000]


def test_each_of_its_modules_can_be_imported_from_its_own_files(chroot: list[str], component: Component) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / component.module).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    program = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    python = ["/app/bin/python", "-I", "-B", "-X", "utf8", "-W", "error", "-c", program]
    ran = subprocess.run([*chroot, *python], env={}, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_it_says_what_it_lacks_when_it_is_started_without_an_environment(
    chroot: list[str], image: Image, component: Component
) -> None:
    for role in component.roles:
        command = [*chroot, *image.config["config"]["Entrypoint"], *role.split()]
        ran = subprocess.run(command, env={}, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 1, (role, ran.stderr)
        assert re.search("required key|KUBECONFIG", ran.stderr), (role, ran.stderr)
        assert "Traceback" not in ran.stderr, role


def test_it_is_the_same_when_it_is_built_again(image: Image, again: Path, component: Component) -> None:
    assert read_layout(again / component.name).config["rootfs"] == image.config["rootfs"]
