"""Image references."""

import pytest

from controller import images


@pytest.mark.parametrize("image", ["hello", "dev.local/hello", "localhost:5000/a/b:1.2", "a/b@sha256:" + "0" * 64])
def test_image_references(image: str) -> None:
    assert images.is_reference(image)


@pytest.mark.parametrize("image", ["", "Hello", "a//b", "a/b:", "a/b@sha256:12", "a b", "/a"])
def test_what_is_no_image_reference(image: str) -> None:
    assert not images.is_reference(image)


def test_only_a_digest_counts_as_resolved() -> None:
    digest = "a/b@sha256:" + "0" * 64
    containers = [{"name": "x", "image": digest}, {"name": "y", "image": "a/b:1"}]
    assert images.digest_statuses(containers) == [{"name": "x", "imageDigest": digest}, {"name": "y"}]
