"""Writes of Knative objects as admission meets them, and what becomes of them."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.admission import Admission, Denied

Json = dict[str, Any]


@dataclass(frozen=True)
class Write:
    """A request as the API server makes it."""

    kind: str
    object: Json
    old_object: Json = field(default_factory=dict)
    group: str = "serving.knative.dev"
    namespace: str = "default"
    name: str = "web"
    username: str = "alice"
    subresource: str = ""
    operation: str = ""


def admit(write: Write, **maps: dict[str, str]) -> Json:
    """The object as it would be stored; raises `Denied`."""
    data = {f"config-{name.replace('_', '-')}": text for name, text in maps.items()}
    admission = Admission(data.get)
    stored = admission.default(write)
    admission.validate(Write(write.kind, stored, write.old_object, write.group, write.namespace, write.name))
    return stored


def refusal(write: Write, **maps: dict[str, str]) -> str:
    """The text of a refusal."""
    with pytest.raises(Denied) as caught:
        admit(write, **maps)
    assert caught.value.message.startswith("validation failed: ")
    return caught.value.message.removeprefix("validation failed: ")


def service(spec: Json | None = None, *, container: Json | None = None, meta: Json | None = None, **top: Any) -> Json:
    """A Service `web`; `spec` goes into the Revision's spec, `container` into its container."""
    containers = [{"image": "example.com/app:1", **(container or {})}]
    template: Json = {"spec": {"containers": containers, **(spec or {})}}
    if "template_meta" in top:
        template["metadata"] = top.pop("template_meta")
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", **(meta or {})},
        "spec": {"template": template, **top},
    }


def new(obj: Json) -> Write:
    return Write(obj["kind"], copy.deepcopy(obj), operation="CREATE")


def changed(old: Json, obj: Json, **more: Any) -> Write:
    return Write(obj["kind"], copy.deepcopy(obj), copy.deepcopy(old), operation="UPDATE", **more)


def route(*targets: Json) -> Json:
    return {
        "kind": "Route",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"traffic": list(targets)},
    }


def of(stored: Json) -> Json:
    """The Revision's spec within a stored Service."""
    spec: Json = stored["spec"]["template"]["spec"]
    return spec


PINNED = {"revisionName": "web-1"}
TEMPLATE = "spec.template.spec"
CONTAINER = f"{TEMPLATE}.containers[0]"
ANNOTATIONS = "spec.template.metadata.annotations"
MULTI = {"containers": [{"image": "a/b"}, {"image": "a/c"}]}
SECRET_VOLUME = {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}
PVC = {"kubernetes.podspec-persistent-volume-claim": "Enabled"}


def volume(path: str, *more: str) -> Json:
    mounts = [{"name": "v", "mountPath": each} for each in (path, *more)]
    return service(SECRET_VOLUME, container={"volumeMounts": mounts})
