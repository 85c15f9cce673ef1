"""All images, as `make images` has built them: sizes, contents, and each component started from its own files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.images.components import COMPONENTS, Component
from deploy.images.packages import ROOT
from tests.deploy.layouts import Image, read_layout

COMPRESSED_BYTES_MAX = {"queue-proxy": 25_000_000}
COMPRESSED_BYTES_MAX_OTHERWISE = 45_000_000

pytestmark = [
    pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name),
    pytest.mark.timeout(600),
]


@pytest.fixture
def image(images: Path, component: Component) -> Image:
    return read_layout(images / component.name)


@pytest.fixture
def chroot(image: Image, tmp_path: Path) -> list[str]:
    """Words before a command that run it as the image's user among the image's files."""
    program = shutil.which("chroot")
    if program is None or os.geteuid() != 0:
        pytest.skip("only root may change its root directory, with chroot: the image's programs were not run")
    root = tmp_path / "root"
    root.mkdir(0o755)
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    image.unpack(root)
    return [program, f"--userspec={image.config['config']['User']}", str(root)]


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


def test_the_lowest_layer_is_the_same_in_all(images: Path, image: Image, component: Component) -> None:
    assert image.manifest["layers"][0] == read_layout(images / "queue-proxy").manifest["layers"][0]


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
