"""The Containerfiles, one per component from one template: for whoever builds with an engine, or for another machine.

The first stage is the same for all and holds the locked dependencies; it makes the root file system by the same code as
`python -m deploy.images build`, so both ways give the same image.
"""

import json
from pathlib import Path

from deploy.images.components import COMPONENTS, ENVIRONMENT, USER, Component, entrypoint

__all__ = ["containerfile", "containerfile_path", "write_containerfiles"]

_TEMPLATE = """\
# {description}.
# Written by `python -m deploy.images containerfiles`; build with the repository as context:
#   podman build -f deploy/images/{name}/Containerfile -t {name} .

# Any image with Python 3.11 or later for the C library that is to be used, ldd and the package ca-certificates.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${{PYTHON}} AS build
WORKDIR /src
COPY pyproject.toml requirements.lock ./
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN .venv/bin/python -m deploy.images rootfs {name} /rootfs

FROM scratch
COPY --from=build /rootfs/ /
USER {user}
ENV {environment}
EXPOSE {ports}
LABEL org.opencontainers.image.title={name} org.opencontainers.image.licenses=Apache-2.0
ENTRYPOINT {entrypoint}
"""


def containerfile(component: Component) -> str:
    """The text of one."""
    return _TEMPLATE.format(
        name=component.name,
        description=component.description,
        user=USER,
        environment=" ".join(f"{name}={value}" for name, value in ENVIRONMENT.items()),
        ports=" ".join(str(port) for port in component.ports),
        entrypoint=json.dumps(entrypoint(component)),
    )


def containerfile_path(component: Component) -> Path:
    """Where it is kept."""
    return Path(__file__).parent / component.name / "Containerfile"


def write_containerfiles() -> None:
    """Write all of them."""
    for component in COMPONENTS:
        path = containerfile_path(component)
        path.parent.mkdir(exist_ok=True)
        path.write_text(containerfile(component))
