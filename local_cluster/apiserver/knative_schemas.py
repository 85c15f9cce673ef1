"""Schemas of Knative's kinds: typed where people write, open where only Knative's own programs do.

A misspelt field in a Service manifest is told by its path; internal kinds keep whatever the controllers send. Source:
Knative Serving API reference (`serving.knative.dev/v1`).
"""

from typing import Any

from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["add_knative_schemas"]

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "format": "int64"}
_METADATA = {"$ref": "meta/v1.ObjectMeta"}


def _object(description: str = "", **properties: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "object", "properties": properties}
    return {"description": description, **node} if description else node


def _list(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    node = {"type": "array", "items": items}
    return {"description": description, **node} if description else node


def _described(node: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, **node}


_CONDITION = _object(type=_TEXT, status=_TEXT, severity=_TEXT, reason=_TEXT, message=_TEXT, lastTransitionTime=_TEXT)
_STATUS = {
    **_object(
        "What was observed; written by the controller.",
        observedGeneration=_described(_COUNT, "The generation that the conditions are about."),
        conditions=_list(_CONDITION, "Observations; `Ready` sums them up."),
        annotations={"type": "object", "additionalProperties": _TEXT},
    ),
    "x-kubernetes-preserve-unknown-fields": True,
}
_TRAFFIC = _list(
    _object(
        configurationName=_described(_TEXT, "Configuration whose latest ready revision receives this share."),
        revisionName=_described(_TEXT, "Revision that receives this share."),
        latestRevision=_described(_FLAG, "Whether the latest ready revision is meant; excludes revisionName."),
        percent=_described(_COUNT, "Share of the traffic, 0 to 100; all shares add up to 100."),
        tag=_described(_TEXT, "Name under which this target has a URL of its own."),
        url=_TEXT,
    ),
    "How requests are split.",
)
_REFERENCE = _object(apiVersion=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, group=_TEXT, address=_TEXT)


def add_knative_schemas(schemas: Schemas) -> None:
    """Offer the schemas of all kinds in `knative_kinds.KNATIVE_KINDS`."""
    pod = schemas.get("core/v1.PodSpec")
    assert pod is not None
    revision_spec = _object(
        "How the revision's pods run: a pod's spec and what Knative adds.",
        **pod["properties"],
        containerConcurrency=_described(_COUNT, "Most requests inside a pod at once; 0: no limit."),
        timeoutSeconds=_described(_COUNT, "Longest time that a request may take."),
        responseStartTimeoutSeconds=_described(_COUNT, "Longest time until a response begins."),
        idleTimeoutSeconds=_described(_COUNT, "Longest time without a byte in either direction."),
    )
    schemas.add("serving.knative.dev/v1.RevisionSpec", revision_spec)
    revision_reference = {"$ref": "serving.knative.dev/v1.RevisionSpec"}
    template = _object("The template of the revisions.", metadata=_METADATA, spec=revision_reference)
    service = _object("What is wanted.", template=template, traffic=_TRAFFIC)
    mapping = _object(ref=_REFERENCE, tls=_object(secretName=_TEXT))
    for name, description, spec in (
        ("v1.Service", "An application: its configuration and its route.", service),
        (
            "v1.Configuration",
            "An application's wanted state; every change makes a revision.",
            _object(template=template),
        ),
        ("v1.Revision", "One immutable state of code and configuration.", revision_reference),
        ("v1.Route", "Where an application's requests go.", _object(traffic=_TRAFFIC)),
        ("v1beta1.DomainMapping", "A domain name of one's own for a service.", mapping),
    ):
        schemas.add(f"serving.knative.dev/{name}", _kind(description, spec))
    for name, description in (
        ("autoscaling.internal.knative.dev/v1alpha1.PodAutoscaler", "Who scales a revision, and how."),
        ("autoscaling.internal.knative.dev/v1alpha1.Metric", "What the autoscaler collects for a revision."),
        ("networking.internal.knative.dev/v1alpha1.Ingress", "What the gateway routes for a Route."),
        ("networking.internal.knative.dev/v1alpha1.ServerlessService", "Whether a revision is reached directly."),
        ("networking.internal.knative.dev/v1alpha1.Certificate", "A certificate that is wanted."),
        ("networking.internal.knative.dev/v1alpha1.ClusterDomainClaim", "Which namespace may map a domain."),
        ("caching.internal.knative.dev/v1alpha1.Image", "An image worth having on the nodes."),
    ):
        schemas.add(name, _kind(description, ANYTHING))


def _kind(description: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(description, apiVersion=_TEXT, kind=_TEXT, metadata=_METADATA, spec=spec, status=_STATUS)
