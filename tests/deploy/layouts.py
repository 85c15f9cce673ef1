"""Reading an OCI image layout as a registry client does: every digest and size is checked on the way."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Image", "read_layout"]


@dataclass(frozen=True)
class Image:
    """What a layout holds."""

    name: str
    platform: dict[str, str]
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: list[bytes]
    """The archives, lowest first, decompressed."""

    @property
    def compressed_bytes(self) -> int:
        return sum(layer["size"] for layer in self.manifest["layers"])

    @property
    def entries(self) -> dict[str, tarfile.TarInfo]:
        """Path -> entry of all layers."""
        found: dict[str, tarfile.TarInfo] = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
                found |= {entry.name: entry for entry in archive}
        return found

    def unpack(self, folder: Path) -> None:
        """As a runtime does, with owners and permissions."""
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
                archive.extractall(folder, filter="fully_trusted")


def read_layout(folder: Path) -> Image:
    """The only image of a layout."""
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((folder / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    (described,) = index["manifests"]
    manifest = json.loads(_blob(folder, described, "application/vnd.oci.image.manifest.v1+json"))
    config = json.loads(_blob(folder, manifest["config"], "application/vnd.oci.image.config.v1+json"))
    packed = [_blob(folder, layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in manifest["layers"]]
    layers = [gzip.decompress(data) for data in packed]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]}
    blobs = {path.name for path in (folder / "blobs" / "sha256").iterdir()}
    named = [described, manifest["config"], *manifest["layers"]]
    assert blobs == {each["digest"].removeprefix("sha256:") for each in named}, "blobs that nothing names, or too few"
    return Image(
        described["annotations"]["org.opencontainers.image.ref.name"], described["platform"], manifest, config, layers
    )


def _blob(folder: Path, described: dict[str, Any], media_type: str) -> bytes:
    assert described["mediaType"] == media_type
    data = (folder / "blobs" / "sha256" / described["digest"].removeprefix("sha256:")).read_bytes()
    assert (len(data), _digest(data)) == (described["size"], described["digest"])
    return data


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
