"""Applying manifests without kubectl: the same three-way merge, with the same annotation, so that both can be mixed.

What was applied before (annotation `kubectl.kubernetes.io/last-applied-configuration`), what is wanted now, and what is
there decide the patch: fields that were applied before and are gone from the manifest are removed, others' fields stay.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from kube.client import Client
from kube.errors import NotFound

__all__ = ["LAST_APPLIED", "Applied", "KindInfo", "Kinds", "ManifestError", "apply", "load", "three_way_merge"]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
STDIN = Path("-")
JsonObject = dict[str, Any]


class ManifestError(Exception):
    """A file that cannot be applied: which, where in it, and why."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one object: `outcome` is created, configured or unchanged."""

    kind: str
    namespace: str
    name: str
    outcome: str


@dataclass(frozen=True, slots=True)
class KindInfo:
    """Where discovery says that a kind lives."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    names: tuple[str, ...]
    """Everything a person may type for it: plural, singular, short names."""

    def path(self, namespace: str, name: str | None = None) -> str:
        """REST path of the collection or of one object."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        path = (
            f"{root}/namespaces/{namespace}/{self.plural}" if self.namespaced and namespace else f"{root}/{self.plural}"
        )
        return f"{path}/{name}" if name else path


class Kinds:
    """The server's kinds, read once by discovery."""

    def __init__(self, kinds: list[KindInfo]) -> None:
        self._kinds = kinds

    @classmethod
    async def discover(cls, client: Client) -> "Kinds":
        """Ask for every group's resources."""
        kinds = await _resources(client, "/api/v1", "v1")
        groups = json.loads(await client.raw("GET", "/apis"))
        for group in groups.get("groups", []):
            for version in group.get("versions", []):
                kinds += await _resources(client, f"/apis/{version['groupVersion']}", version["groupVersion"])
        return cls(kinds)

    @property
    def all(self) -> list[KindInfo]:
        """Every kind that the server has."""
        return list(self._kinds)

    def of(self, api_version: str, kind: str) -> KindInfo:
        """The kind of a manifest; `ManifestError` when the server has none such."""
        for info in self._kinds:
            if (info.api_version, info.kind) == (api_version, kind):
                return info
        like = {f"{info.kind} of {info.api_version}" for info in self._kinds if info.kind == kind}
        like |= {f"{word} of {api_version}" for word in _close(kind, self._kinds_of(api_version))}
        raise ManifestError(f'no matches for kind "{kind}" in version "{api_version}"{_meant(like)}')

    def _kinds_of(self, api_version: str) -> list[str]:
        return [info.kind for info in self._kinds if info.api_version == api_version]

    def named(self, word: str) -> KindInfo:
        """The kind that a person means by `pods`, `po`, `ksvc` or `revisions.serving.knative.dev`.

        A bare `services` means Knative's: they are what this stack is about; `services.core` or `svc` are the others.
        """
        name, _, group = word.lower().partition(".")
        found = [
            info
            for info in self._kinds
            if name in info.names
            and (
                not group
                or info.api_version.partition("/")[0] == group
                or (group == "core" and "/" not in info.api_version)
            )
        ]
        if not found:
            like = _close(name, [each for info in self._kinds for each in info.names])
            known = ", ".join(sorted({info.plural for info in self._kinds}))
            raise ManifestError(f'the server has no resource type "{word}"' + (_meant(like) or f"; it has {known}"))
        return next((info for info in found if info.api_version.endswith("knative.dev/v1")), found[0])


def _close(word: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that `word` may be a slip for, the likeliest first."""
    by_lower = {each.lower(): each for each in known}
    return [by_lower[each] for each in get_close_matches(word.lower(), by_lower, n=2, cutoff=0.75)]


def _meant(like: Iterable[str]) -> str:
    return f"; did you mean {' or '.join(like)}?" if like else ""


async def _resources(client: Client, path: str, api_version: str) -> list[KindInfo]:
    document = json.loads(await client.raw("GET", path))
    return [
        KindInfo(
            api_version,
            resource["kind"],
            resource["name"],
            bool(resource["namespaced"]),
            (
                resource["name"],
                resource.get("singularName") or resource["kind"].lower(),
                *resource.get("shortNames", ()),
            ),
        )
        for resource in document.get("resources", [])
        if "/" not in resource["name"]
    ]


def load(path: Path) -> list[JsonObject]:
    """The objects of a YAML or JSON file, or of stdin (`-`), `List`s unpacked; one at least.

    `ManifestError` names file, document and fault.
    """
    try:
        documents = list(yaml.safe_load_all(sys.stdin.read() if path == STDIN else path.read_text()))
    except IsADirectoryError as error:
        raise ManifestError(f"{path}: is a directory; name the files in it, each with -f") from error
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: not YAML: {error}") from error
    found = list(_objects(path, documents))
    if not found:
        raise ManifestError(f"{path}: no object in it")
    return found


def _objects(path: Path, documents: list[Any]) -> Iterator[JsonObject]:
    for index, document in enumerate(documents):
        if document is None:
            continue
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from _objects(path, document.get("items") or [])
            continue
        where = f"{path}: document {index + 1}"
        if not isinstance(document, dict):
            raise ManifestError(f"{where}: expected an object, got {type(document).__name__}")
        for field in ("apiVersion", "kind"):
            if not isinstance(document.get(field), str):
                raise ManifestError(f"{where}: {field} is missing")
        if not isinstance(document.get("metadata"), dict) or not isinstance(document["metadata"].get("name"), str):
            raise ManifestError(f"{where}: metadata.name is missing")
        yield document


async def apply(client: Client, kinds: Kinds, manifest: JsonObject, namespace: str) -> Applied:
    """Create or update one object. The server's refusal passes through as `ApiError`."""
    info = kinds.of(manifest["apiVersion"], manifest["kind"])
    metadata = manifest["metadata"]
    wanted = {**manifest, "metadata": {**metadata}}
    if info.namespaced:
        wanted["metadata"].setdefault("namespace", namespace)
    where = wanted["metadata"].get("namespace", "")
    name = metadata["name"]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    wanted["metadata"]["annotations"] = annotations
    applied = json.dumps(wanted, separators=(",", ":"), sort_keys=True) + "\n"
    wanted["metadata"]["annotations"] = {**annotations, LAST_APPLIED: applied}
    params = {"fieldManager": "knuv", "fieldValidation": "Strict"}
    try:
        current = json.loads(await client.raw("GET", info.path(where, name)))
    except NotFound:
        await client.raw("POST", info.path(where), body=json.dumps(wanted).encode(), params=params)
        return Applied(info.kind, where, name, "created")
    before = json.loads((current["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "{}")
    patch = three_way_merge(before, wanted, current)
    if not patch:
        return Applied(info.kind, where, name, "unchanged")
    answer = await client.raw(
        "PATCH",
        info.path(where, name),
        body=json.dumps(patch).encode(),
        content_type="application/merge-patch+json",
        params=params,
    )
    # Lists are replaced whole, so the patch may say what the server's defaults turn into what is there already.
    is_same = json.loads(answer)["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"]
    return Applied(info.kind, where, name, "unchanged" if is_same else "configured")


def three_way_merge(before: JsonObject, wanted: JsonObject, current: JsonObject) -> JsonObject:
    """The JSON merge patch (RFC 7396) that brings `current` to `wanted` and drops what only `before` asked for."""
    patch: JsonObject = {key: None for key in before if key not in wanted and key in current}
    for key, value in wanted.items():
        held = current.get(key)
        if isinstance(value, dict) and isinstance(held, dict):
            earlier = before.get(key)
            inner = three_way_merge(earlier if isinstance(earlier, dict) else {}, value, held)
            if inner:
                patch[key] = inner
        elif value != held:
            patch[key] = value
    return patch
