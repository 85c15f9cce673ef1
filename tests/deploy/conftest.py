"""The option of `make images`."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line; elsewhere nothing has been built."""
    parser.addoption("--images", type=Path, default=None, help="folder of images to test, one layout per component")


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> Path:
    folder: Path | None = request.config.getoption("--images", default=None)
    if folder is None:
        pytest.skip("building all images takes a minute: `make images` does and runs this")
    return folder
