"""An OCI image layout on disk: `oci-layout`, `index.json` and blobs by digest, as any registry client copies it.

Source: OCI image specification 1.1: image-layout.md, manifest.md, config.md.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.images.components import ENVIRONMENT, USER, Component, entrypoint
from deploy.images.layers import GZIP_LAYER, Layer

__all__ = ["UnsupportedMachine", "architecture", "image_config", "write_layout"]

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What the kernel calls a machine -> what Go, and so the specification, calls it."""


class UnsupportedMachine(Exception):
    """No image can be made of this machine's interpreter."""


def architecture() -> str:
    """This machine's, in the words of the specification. Raises `UnsupportedMachine`."""
    found = _ARCHITECTURES.get(platform.machine())
    if platform.system() != "Linux" or found is None:
        raise UnsupportedMachine(
            f"images are made of this machine's interpreter: expected Linux on {' or '.join(_ARCHITECTURES)}, "
            f"this is {platform.system()} on {platform.machine()}"
        )
    return found


def image_config(
    component: Component, layers: Sequence[tuple[str, Layer]], *, version: str, created: str, revision: str
) -> dict[str, Any]:
    """The image's configuration.

    `layers`: what each is, lowest first; `created`: RFC 3339; `revision`: of the source, or empty.
    """
    labels = {
        "org.opencontainers.image.title": component.name,
        "org.opencontainers.image.description": component.description,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    if revision:
        labels["org.opencontainers.image.revision"] = revision
    return {
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": {f"{port}/tcp": {} for port in component.ports},
            "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "Entrypoint": entrypoint(component),
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for _, layer in layers]},
        "history": [{"created": created, "created_by": f"knuv: {what}"} for what, _ in layers],
    }


def write_layout(target: Path, name: str, config: Mapping[str, Any], layers: Sequence[Layer]) -> str:
    """Write one image under the name `name`, in place of what `target` was; return the manifest's digest.

    The folder appears whole: it is written beside its place first.
    """
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    blobs = draft / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def stored(media_type: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": stored(_CONFIG, _json(config)),
        "layers": [stored(GZIP_LAYER, layer.data) for layer in layers],
    }
    described = stored(_MANIFEST, _json(manifest))
    described["platform"] = {"architecture": config["architecture"], "os": config["os"]}
    described["annotations"] = {"org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [described]}
    (draft / "index.json").write_bytes(_json(index))
    (draft / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return str(described["digest"])


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
