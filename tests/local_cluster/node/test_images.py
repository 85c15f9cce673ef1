"""`local_cluster/node/images.py`."""

import os
from pathlib import Path

import pytest

from local_cluster.node.images import ImageEntry, ImageMap, ImageMapError

BUILTIN = (ImageEntry("dev.local/knuv/queue-proxy", ("python", "-m", "queue_proxy")),)


def write(file: Path, text: str, mtime: int = 1) -> None:
    file.write_text(text)
    os.utime(file, (mtime, mtime))


@pytest.mark.parametrize(
    "image",
    [
        "dev.local/knuv/queue-proxy",
        "dev.local/knuv/queue-proxy:v1",
        "dev.local/knuv/queue-proxy@sha256:0123",
        "dev.local/knuv/queue-proxy:v1@sha256:0123",
    ],
)
def test_an_entry_matches_with_and_without_tag_and_digest(image: str) -> None:
    entry = ImageMap(BUILTIN).find(image)
    assert entry is not None
    assert entry.command == ("python", "-m", "queue_proxy")


def test_a_registry_port_is_not_taken_for_a_tag() -> None:
    images = ImageMap((ImageEntry("localhost:5000/app", ("app",)),))
    assert images.find("localhost:5000/app:v2") is not None
    assert images.find("localhost:5000/other") is None


def test_the_files_entries_come_first_and_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    images = ImageMap(BUILTIN, file)
    assert images.find("app") is None
    write(file, "- {image: 'a*', command: [one], workingDir: sub, env: {N: 1}}\n- {image: app, command: [two]}\n")
    assert images.find("app") == ImageEntry("a*", ("one",), str(tmp_path / "sub"), {"N": "1"})
    write(file, "- {image: app, command: [three]}\n", mtime=2)
    entry = images.find("app")
    assert entry is not None
    assert entry.command == ("three",)
    file.unlink()
    assert images.find("app") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("image: app", "expected a list"),
        ("- [", "images.yaml"),
        ("- {command: [x]}", "entry 1: expected a mapping with a text `image`"),
        ("- {image: a, command: [x]}\n- {image: app, command: run}", "entry 2: command: expected a list of texts"),
        ("- {image: app, command: []}", "entry 1: command: expected a list of texts"),
        ("- {image: app, command: [x], env: [1]}", "entry 1: env: expected a mapping"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_place(tmp_path: Path, text: str, problem: str) -> None:
    write(tmp_path / "images.yaml", text)
    with pytest.raises(ImageMapError, match=problem) as caught:
        ImageMap(file=tmp_path / "images.yaml").find("app")
    assert "images.yaml" in str(caught.value)


def test_the_advice_names_the_image_and_the_file(tmp_path: Path) -> None:
    advice = ImageMap(file=tmp_path / "images.yaml").advice("ghcr.io/x/app:v1")
    assert "ghcr.io/x/app:v1" in advice
    assert str(tmp_path / "images.yaml") in advice
    assert "command" in advice
