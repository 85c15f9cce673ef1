"""Bodies and parameters that are wrong."""

from typing import Any

from tests.conformance.apiserver.cases import Case, case, get, post, put
from tests.conformance.apiserver.tables.objects import config_map, deployment, pod

_PROTOBUF = "application/vnd.kubernetes.protobuf"
_YAML = "application/yaml"


def _body(name: str, body: Any, status: int, content_type: str = "application/json", **expected: Any) -> Case:
    step = post("configmaps", body, status=status, content_type=content_type, **expected)
    return case(f"body-{name}", step, get("configmaps", has={"items": []}))


def _strict(name: str, body: dict[str, Any], path: str) -> Case:
    return case(
        f"strict-{name}",
        post("deployments", body, params={"fieldValidation": "Strict"}, status=400, says=f'unknown field "{path}"'),
        post("deployments", body, params={"fieldValidation": "Ignore"}),
    )


def _envelope(kind: bytes, raw: bytes) -> bytes:
    meta = b"\n\x02v1\x12" + bytes([len(kind)]) + kind
    return b"k8s\0\n" + bytes([len(meta)]) + meta + b"\x12" + bytes([len(raw)]) + raw


_TWICE = b'{"metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}}'
_TWICE_IN_YAML = b"metadata: {name: a}\ndata:\n  k: '1'\n  k: '2'\n"
_LAUGHS = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)),
    ]
)

CASES = [
    _body("empty", b"", 400, reason="BadRequest"),
    _body("no-json", b"{", 400, reason="BadRequest"),
    _body("list", b"[]", 400),
    _body("text", b'"a"', 400),
    _body("null", b"null", 400),
    _body("not-a-number", b'{"metadata": {"name": "a"}, "data": {"k": NaN}}', 400),
    _body("not-utf-8", b'{"metadata": {"name": "\xff"}}', 400),
    _body("deep", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", 400, says="deeper"),
    _body("deeper-than-the-parser", b"[" * 100_000, 400),
    _body("unknown-media-type", b"{}", 415, "application/xml", reason="UnsupportedMediaType"),
    _body("cbor", b"\xd9\xd9\xf7\xa0", 415, "application/cbor", reason="UnsupportedMediaType"),
    _body("beyond-the-bound", b" " * (4 << 20), 413, reason="RequestEntityTooLarge"),
    _body("metadata-is-a-text", {"metadata": "a"}, 400),
    _body("name-is-a-number", {"metadata": {"name": 1}}, 400),
    _body("labels-are-a-list", {"metadata": {"name": "a", "labels": []}}, 400),
    _body("label-is-a-number", {"metadata": {"name": "a", "labels": {"k": 1}}}, 400),
    _body("finalizers-are-a-text", {"metadata": {"name": "a", "finalizers": "x"}}, 400),
    _body("owners-are-texts", {"metadata": {"name": "a", "ownerReferences": ["x"]}}, 400),
    _body("data-is-a-list", {"metadata": {"name": "a"}, "data": []}, 400),
    _body("an-object-above-1.5-MiB", config_map("a", k="x" * (1600 << 10)), 413, reason="RequestEntityTooLarge"),
    case("body-just-below-1.5-MiB", post("configmaps", config_map("a", k="x" * (1500 << 10)))),
    case(
        "growing-above-1.5-MiB",
        post("configmaps", config_map("a")),
        put("configmaps/a", config_map("a", k="x" * (1600 << 10)), status=413, reason="RequestEntityTooLarge"),
    ),
    case(
        "annotations-beyond-256-KiB",
        post("configmaps", {"metadata": {"name": "a", "annotations": {"k": "x" * (257 << 10)}}}, status=422),
    ),
    case(
        "yaml",
        post("configmaps", b"metadata: {name: a}\ndata: {1: one, true: yes, t: 2020-01-01}\n", content_type=_YAML,
             status=400),
        post("configmaps", b"metadata: {name: a}\ndata: {1: one, t: '2020-01-01'}\n", content_type=_YAML,
             has={"data": {"1": "one", "t": "2020-01-01"}}),
    ),
    case("json-as-yaml", post("configmaps", b'{"metadata": {"name": "a"}}', content_type=_YAML)),
    _body("yaml-that-is-none", b"a: [", 400, _YAML),
    _body("yaml-with-a-set", b"metadata: {name: a}\ndata: {k: !!set {x}}\n", 400, _YAML),
    _body("yaml-with-bytes", b"metadata: {name: a}\ndata: {k: !!binary aGk=}\n", 400, _YAML),
    _body("yaml-with-code", b"!!python/object/apply:os.getcwd []\n", 400, _YAML),
    _body("yaml-that-contains-itself", b"metadata: &m {name: a, labels: *m}\n", 400, _YAML),
    _body("yaml-of-nine-laughs", _LAUGHS.encode(), 400, _YAML, says="aliases"),
    _body("two-yaml-documents", b"metadata: {name: a}\n---\nmetadata: {name: b}\n", 400, _YAML),
    case(
        "protobuf",
        post("configmaps", _envelope(b"ConfigMap", b"\n\x03\n\x01a\x12\x06\n\x01k\x12\x01v"), content_type=_PROTOBUF,
             has={"metadata.name": "a", "data": {"k": "v"}, "kind": "ConfigMap"}),
        of=(2, 3, 4, 6),
    ),
    case(
        "protobuf-put",
        post("configmaps", config_map("a")),
        put("configmaps/a", _envelope(b"ConfigMap", b"\n\x03\n\x01a\x12\x06\n\x01k\x12\x01v"),
            content_type=_PROTOBUF, has={"data": {"k": "v"}}),
        of=(2, 3),
    ),
    _body("protobuf-without-magic", b"\n\x03\n\x01a", 400, _PROTOBUF),
    _body("protobuf-of-an-unknown-kind", _envelope(b"Nothing", b""), 400, _PROTOBUF),
    _body("protobuf-of-another-kind", _envelope(b"Secret", b"\n\x03\n\x01a"), 400, _PROTOBUF),
    _body("protobuf-cut-off", _envelope(b"ConfigMap", b"\n\x7f\n\x01a"), 400, _PROTOBUF),
    _strict("at-the-top", {**deployment("a"), "extra": 1}, "extra"),
    _strict("in-spec", deployment("a", replica=1), "spec.replica"),
    _strict("in-metadata", {**deployment("a"), "metadata": {"name": "a", "nam": "b"}}, "metadata.nam"),
    case(
        "strict-in-a-list",
        post("pods", pod("a", containers=[{"name": "a", "image": "x", "imag": "y"}]), params={
            "fieldValidation": "Strict"}, status=400, says='unknown field "spec.containers[0].imag"'),
    ),
    case(
        "strict-of-a-member-named-twice",
        post("configmaps", _TWICE, params={"fieldValidation": "Strict"}, status=400, says='duplicate field "data.k"'),
        put("configmaps/a", _TWICE, params={"fieldValidation": "Strict"}, status=400),
        post("configmaps", _TWICE, params={"fieldValidation": "Ignore"}, has={"data": {"k": "2"}}),
    ),
    case(
        "strict-of-a-member-named-twice-in-yaml",
        post("configmaps", _TWICE_IN_YAML, content_type=_YAML, params={"fieldValidation": "Strict"}, status=400,
             says='duplicate field "data.k"'),
        post("configmaps", _TWICE_IN_YAML, content_type=_YAML, has={"data": {"k": "2"}}),
    ),
    case(
        "strict-of-nothing-wrong",
        post("deployments", deployment("a"), params={"fieldValidation": "Strict"}),
    ),
    case("unknown-strictness", post("configmaps", config_map("a"), params={"fieldValidation": "Very"}, status=400)),
    case("type-in-a-list", post("pods", pod("a", containers=["app"]), status=400)),
    case("null-in-a-list", post("pods", pod("a", containers=[None]), status=400)),
    case("scale-is-a-list", post("deployments", deployment("a")), put(
        "deployments/a/scale", {"metadata": [], "spec": {"replicas": 1}}, status=400)),
    case("scale-of-a-text", post("deployments", deployment("a")), put(
        "deployments/a/scale", {"spec": {"replicas": "many"}}, status=400)),
    case("review-of-a-list", post(
        "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": ["token"]}, status=400)),
]  # fmt: skip
