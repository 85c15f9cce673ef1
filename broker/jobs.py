"""What a JobSink makes of an event: a Job, and a Secret from which the Job's containers read the event.

Plain functions of plain objects. The Job's name follows from the event's source and id, so that the same event makes
one Job, however often it comes and however many of us take it in. The Secret's name is the Job's with something random
behind it, and the Job itself says which: so it is never one that a former Job left behind, and to create Secrets is all
that we ever have to be allowed.

Source: knative/eventing `cmd/jobsink`; spec eventing-sources.md 9; conformance statements 52 to 55.
"""

import base64
import copy
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Final

from eventing.event import Event
from kube.models.batch import Job
from kube.models.core import Secret
from kube.models.sinks import ID_LABEL, NAME_LABEL, JobSink
from kube.names import child_name

__all__ = [
    "COMPLETE",
    "FAILED",
    "end_of",
    "event_text",
    "is_ours",
    "job_name",
    "job_of",
    "new_secret_name",
    "secret_name_of",
    "secret_of",
]

JsonObject = dict[str, Any]

COMPLETE: Final = "Complete"
FAILED: Final = "Failed"
_VOLUME: Final = "jobsink-event"
_FOLDER: Final = "/etc/jobsink-event"
_FILE: Final = "event"
_PATH_VARIABLE: Final = "K_EVENT_PATH"
_MODE_VARIABLE: Final = "K_EXECUTION_MODE"
_MODE: Final = "batch"
_TRACE: Final = ("traceparent", "tracestate")


def job_name(sink: str, source: str, event_id: str) -> str:
    """Return the name of the Job of an event."""
    digest = hashlib.md5(f"{source}{event_id}".encode(), usedforsecurity=False).hexdigest()
    return child_name(f"{sink}-", digest)


def new_secret_name(job: str) -> str:
    """Return the name of the Secret of a Job that is about to be made."""
    return f"{job}-{secrets.token_hex(4)}"


def secret_name_of(job: Job) -> str:
    """Return the name of the Secret of a Job that was made. Raises `ValueError` when it is none that we would give.

    Whoever may make Jobs must not have us make Secrets of any name for them.
    """
    for volume in (job.spec.template.get("spec") or {}).get("volumes") or []:
        if volume.get("name") == _VOLUME:
            name = str((volume.get("secret") or {}).get("secretName") or "")
            if name == job.name or name.startswith(f"{job.name}-"):
                return name
    raise ValueError(f"Job {job.namespace}/{job.name} has no volume {_VOLUME} of a Secret named after the Job")


def event_text(event: Event, passed: Iterable[bytes]) -> bytes:
    """Return the event in the JSON format; `passed` are header lines that came along, of which the trace is kept."""
    attributes = dict(event.attributes)
    for line in passed:
        name, _, value = line.partition(b":")
        key = name.strip().lower().decode("latin-1")
        if key in _TRACE and value.isascii():
            attributes[key] = value.strip().decode()
    return Event(attributes, event.data).structured()


def job_of(sink: JobSink, name: str, secret: str) -> JsonObject:
    """Return the Job as it is created, and reads the event from that Secret.

    Raises `ValueError` for a JobSink that says nothing a Job could be made of.
    """
    found = sink.spec.job
    spec: JsonObject = copy.deepcopy(found.get("spec") or {})
    try:
        pod: JsonObject = spec["template"]["spec"]
        for container in pod.get("initContainers") or []:
            _set_mode(container)
        for container in pod["containers"]:
            _set_mode(container)
            _set_path(container, _mounted(container))
        volumes = [volume for volume in pod.get("volumes") or [] if volume.get("name") != _VOLUME]
        pod["volumes"] = [*volumes, {"name": _VOLUME, "secret": {"secretName": secret}}]
        metadata = found.get("metadata") or {}
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        return {
            "apiVersion": Job.RESOURCE.api_version,
            "kind": Job.RESOURCE.kind,
            "metadata": {
                "name": name,
                "namespace": sink.namespace,
                "labels": {**labels, **_labels(sink.name, name)},
                "annotations": dict(annotations),
                "ownerReferences": [_owner(sink.api_version, sink.kind, sink.name, sink.metadata.uid)],
            },
            "spec": spec,
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"JobSink {sink.namespace}/{sink.name}: spec.job is no Job: {error!r}") from error


def secret_of(sink: JobSink, job: Job, event: bytes) -> JsonObject:
    """Return the Secret that holds the event in the JSON format; it goes when its Job does.

    Raises `ValueError` as `secret_name_of`.
    """
    return {
        "apiVersion": Secret.RESOURCE.api_version,
        "kind": Secret.RESOURCE.kind,
        "metadata": {
            "name": secret_name_of(job),
            "namespace": job.namespace,
            "labels": _labels(sink.name, job.name),
            "ownerReferences": [_owner(Job.RESOURCE.api_version, Job.RESOURCE.kind, job.name, job.metadata.uid)],
        },
        "data": {_FILE: base64.b64encode(event).decode()},
    }


def is_ours(job: Job, sink: JobSink) -> bool:
    """Whether a Job of the name of an event's is that event's, and not somebody else's.

    That of a JobSink before this one, of the same name, is neither: it is about to go, and its event with it.
    """
    labels, owners = job.metadata.labels, job.metadata.owner_references
    is_of_former = any(each.kind == sink.kind and each.uid != sink.metadata.uid for each in owners)
    return labels.get(NAME_LABEL) == sink.name and labels.get(ID_LABEL) == job.name and not is_of_former


def end_of(job: Job) -> str:
    """Return `COMPLETE`, `FAILED`, or nothing while the Job runs."""
    ends = [each.type for each in job.status.conditions if each.status == "True" and each.type in (COMPLETE, FAILED)]
    return ends[0] if ends else ""


def _labels(sink: str, name: str) -> dict[str, str]:
    return {NAME_LABEL: sink, ID_LABEL: name}


def _owner(api_version: str, kind: str, name: str, uid: str) -> JsonObject:
    # Nobody's deletion waits for us: that would ask for a right on the owner's finalizers.
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}


def _set_mode(container: JsonObject) -> None:
    env = container.get("env") or []
    if not any(each.get("name") == _MODE_VARIABLE for each in env):
        container["env"] = [*env, {"name": _MODE_VARIABLE, "value": _MODE}]


def _set_path(container: JsonObject, folder: str) -> None:
    env = [each for each in container.get("env") or [] if each.get("name") != _PATH_VARIABLE]
    container["env"] = [*env, {"name": _PATH_VARIABLE, "value": folder}]


def _mounted(container: JsonObject) -> str:
    """Mount the event unless the container does so itself; return the folder in which it is."""
    mounts = container.get("volumeMounts") or []
    for mount in mounts:
        if mount.get("name") == _VOLUME:
            return str(mount.get("mountPath") or _FOLDER)
    container["volumeMounts"] = [*mounts, {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}]
    return _FOLDER
