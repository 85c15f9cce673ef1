"""An image as it is written: its layout, its configuration, its files, and its entrypoint run from them."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.images.build import Builder, Built
from deploy.images.components import COMPONENTS, entrypoint
from deploy.images.packages import ROOT, distributions, libraries_of
from tests.deploy.layouts import Image, read_layout
from tests.support.http import running_app
from tests.support.processes import kill_group
from tests.support.queue_proxy import running_queue_proxy

(QUEUE_PROXY,) = (component for component in COMPONENTS if component.name == "queue-proxy")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Builder(compression=1, revision="0123abc").build(QUEUE_PROXY, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def image(built: Built) -> Image:
    return read_layout(built.path)


@pytest.fixture(scope="module")
def root(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("root")
    # mktemp makes it for its owner alone, and the component runs as somebody else.
    folder.chmod(0o755)
    image.unpack(folder)
    yield folder
    shutil.rmtree(folder)


def test_its_name_and_platform_are_those_of_the_component_and_of_this_machine(image: Image) -> None:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    assert image.name.startswith("queue-proxy:")
    assert image.platform == {"architecture": architecture, "os": "linux"}
    assert (image.config["architecture"], image.config["os"]) == (architecture, "linux")


def test_its_configuration_is_that_of_a_program_without_privileges(image: Image) -> None:
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][0] == "/app/bin/python"
    assert config["Entrypoint"][-2:] == ["-m", "queue_proxy"]
    assert set(config["ExposedPorts"]) == {f"{port}/tcp" for port in (8012, 8013, 8022, 8112, 9090, 9091)}
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in config["Env"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "queue-proxy"
    assert labels["org.opencontainers.image.revision"] == "0123abc"
    assert labels["org.opencontainers.image.version"] == image.name.partition(":")[2]


def test_a_node_pulls_at_most_25_mb(image: Image) -> None:
    assert image.compressed_bytes <= 25_000_000


def test_its_files_belong_to_root_and_nobody_else_may_write_them(image: Image) -> None:
    for path, entry in image.entries.items():
        assert (entry.uid, entry.gid, entry.mtime) == (0, 0, 0), path
        assert entry.issym() or entry.mode & 0o022 == 0, path
        assert not path.startswith(("/", "..")), path


def test_there_is_no_shell_no_package_manager_and_no_other_component_in_it(image: Image) -> None:
    names = {path.rpartition("/")[2] for path in image.entries}
    assert (
        names & {"sh", "bash", "busybox", "pip", "setuptools", "aiohttp", "kube", "activator", "test", "idlelib"}
        == set()
    )


def test_every_python_file_has_its_bytecode(image: Image) -> None:
    entries = image.entries
    tag = sys.implementation.cache_tag
    sources = [path for path in entries if path.endswith(".py")]
    assert len(sources) > 400
    for path in sources:
        folder, _, name = path.rpartition("/")
        assert f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc" in entries


def test_nothing_in_it_names_the_machine_that_it_was_made_on(image: Image) -> None:
    places = {str(ROOT), str(Path.home()), sys.base_prefix, sys.prefix, os.path.realpath(sys.executable)} - {
        "/usr",
        "/",
    }
    for layer in image.layers:
        for place in places:
            assert f"{place}/".encode() not in layer


def _files(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def _told_by_kernel(pid: int, name: str) -> dict[str, list[str]]:
    """First word -> the other ones, of the lines of a file in the process' folder of /proc."""
    lines = [line.split() for line in Path(f"/proc/{pid}/{name}").read_text().splitlines()]
    return {words[0]: words[1:] for words in lines if len(words) > 1}


def _chroot(root: Path) -> list[str]:
    if os.geteuid() != 0:
        pytest.skip("only root may change its root directory: the image's entrypoint was not run")
    chroot = shutil.which("chroot")
    if chroot is None:
        pytest.skip("no chroot on this machine: the image's entrypoint was not run")
    return [chroot, "--userspec=65532:65532", str(root)]


async def test_its_entrypoint_proxies_from_its_own_files(root: Path, image: Image) -> None:
    before = _files(root)
    command = [*_chroot(root), *image.config["config"]["Entrypoint"]]
    async with running_app() as app, running_queue_proxy(app.port, command=command) as proxy:
        answer = await proxy.fetch("/")
        assert answer.status == 200
        assert _told_by_kernel(proxy.process.pid, "status")["Uid:"] == ["65532"] * 4
        libraries = {words[-1] for words in _told_by_kernel(proxy.process.pid, "maps").values() if ".so" in words[-1]}
        assert libraries
        assert all(path.startswith(str(root)) for path in libraries), "a library of the machine was loaded"
    assert _files(root) == before, "it wrote into its image"


def test_it_asks_for_its_environment_as_the_program_does(root: Path, image: Image) -> None:
    command = [*_chroot(root), *image.config["config"]["Entrypoint"]]
    process = subprocess.Popen(command, env={}, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, errors = process.communicate(timeout=20)
    finally:
        kill_group(process.pid)
    assert process.returncode == 1
    assert errors.startswith("required key CONTAINER_CONCURRENCY missing value\n")


def test_only_the_queue_proxys_own_extra_is_in_its_image() -> None:
    assert list(distributions("queue-proxy")) == ["uvloop"]
    files = libraries_of(QUEUE_PROXY)
    assert {path.split("/")[4].split("-")[0] for path in files if path.startswith("app/lib")} == {"uvloop"}
    assert any("licenses" in path or "LICENSE" in path for path in files)
    assert not [path for path in files if path.endswith((".pyx", ".pyi", ".c"))]


def test_entrypoints_ignore_variables_that_change_what_python_runs() -> None:
    assert all("-I" in entrypoint(component) for component in COMPONENTS)
