"""The version of an Ingress: Go's JSON to the byte (spec ingress.md 4.1)."""

import hashlib
from collections.abc import Callable

import pytest

from kube.ingress.version_hash import spec_json, version_hash
from kube.models.networking import Ingress, IngressBackendSplit, IngressSpec, IngressTLS
from tests.gateway.objects import ingress, path, rule, split

EXAMPLE_JSON = (
    '{"rules":[{"hosts":["web.shop.example.com"],"visibility":"ExternalIP","http":{"paths":[{"splits":['
    '{"serviceNamespace":"shop","serviceName":"web-00001","servicePort":80,"percent":100,"appendHeaders":'
    '{"Knative-Serving-Namespace":"shop","Knative-Serving-Revision":"web-00001"}}]}]}}],"httpOption":"Enabled"}'
)


def example() -> Ingress:
    """The Ingress of the specification's example, its headers in the other order."""
    to = split("web-00001", Knative_Serving_Revision="web-00001", Knative_Serving_Namespace="shop")
    return ingress("web", rule("web.shop.example.com", to=[path(to)]), http_option="Enabled")


def version(of: Ingress) -> str:
    return version_hash(of.spec, of.namespace, of.name)


def test_8_the_example_has_the_hash_of_the_original() -> None:
    assert spec_json(example().spec) == EXAMPLE_JSON
    assert version(example()) == "826ece42ef6fe128b4cd2369ee8a914b827054c9e9220af022484bc2edeea992"


def test_every_field_stands_in_the_order_of_the_original() -> None:
    whole = path(
        split("b", 60, "http2", B="2", A="1"), split("a", 40), prefix="/p", match={"Z-Header": "z", "A-Header": "a"}
    )
    whole.rewrite_host = "else.where"
    whole.append_headers = {"Y": "y", "X": "x"}
    spec = ingress("web", rule("h", to=[whole]), http_option="Redirected").spec
    spec.tls = [IngressTLS(hosts=["h"], secret_name="s", secret_namespace="n")]
    assert spec_json(spec) == (
        '{"tls":[{"hosts":["h"],"secretName":"s","secretNamespace":"n"}],'
        '"rules":[{"hosts":["h"],"visibility":"ExternalIP","http":{"paths":[{"path":"/p","rewriteHost":"else.where",'
        '"headers":{"A-Header":{"exact":"a"},"Z-Header":{"exact":"z"}},'
        '"splits":[{"serviceNamespace":"shop","serviceName":"b","servicePort":"http2","percent":60,'
        '"appendHeaders":{"A":"1","B":"2"}},'
        '{"serviceNamespace":"shop","serviceName":"a","servicePort":80,"percent":40}],'
        '"appendHeaders":{"X":"x","Y":"y"}}]}}],"httpOption":"Redirected"}'
    )


def test_empty_optional_fields_are_left_out_and_required_ones_stay() -> None:
    empty = path(split("", 0, 0))
    empty.splits[0].service_namespace = ""
    spec = ingress("web", rule(visibility="", to=[empty])).spec
    assert spec_json(spec) == (
        '{"rules":[{"http":{"paths":[{"splits":[{"serviceNamespace":"","serviceName":"","servicePort":0}]}]}}]}'
    )
    assert spec_json(IngressSpec()) == "{}"


def test_a_header_that_must_only_be_present_keeps_its_empty_value() -> None:
    present = path(split("web"))
    present.headers = {"Tag": {}}
    assert '"headers":{"Tag":{"exact":""}}' in spec_json(ingress("web", rule("h", to=[present])).spec)


def test_html_and_line_separators_are_escaped_as_go_does_and_other_text_is_not() -> None:
    spec = ingress("web", rule("h", to=[path(split("web", X='<a>&"\\\u2028\u2029é\n\t\x01'))])).spec
    assert '"X":"\\u003ca\\u003e\\u0026\\"\\\\\\u2028\\u2029é\\n\\t\\u0001"' in spec_json(spec)


def test_the_hash_covers_spec_then_namespace_then_name() -> None:
    spec = example().spec
    assert version_hash(spec, "ns", "n") == hashlib.sha256(f"{EXAMPLE_JSON}nsn".encode()).hexdigest()


def _rename(changed: Ingress) -> None:
    changed.metadata.name = "other"


def _move(changed: Ingress) -> None:
    changed.metadata.namespace = "other"


def _percent(changed: Ingress) -> None:
    _splits(changed)[0].percent = 99


def _split_header(changed: Ingress) -> None:
    _splits(changed)[0].append_headers["Knative-Serving-Revision"] = "web-00002"


def _path_header(changed: Ingress) -> None:
    assert changed.spec.rules[0].http is not None
    changed.spec.rules[0].http.paths[0].append_headers = {"X": "x"}


def _match(changed: Ingress) -> None:
    assert changed.spec.rules[0].http is not None
    changed.spec.rules[0].http.paths[0].headers = {"X": {"exact": "x"}}


def _host(changed: Ingress) -> None:
    changed.spec.rules[0].hosts.append("more.example.com")


def _visibility(changed: Ingress) -> None:
    changed.spec.rules[0].visibility = "ClusterLocal"


def _port_as_name(changed: Ingress) -> None:
    _splits(changed)[0].service_port = "80"


def _splits(changed: Ingress) -> list[IngressBackendSplit]:
    assert changed.spec.rules[0].http is not None
    return changed.spec.rules[0].http.paths[0].splits


@pytest.mark.parametrize(
    "change",
    [_rename, _move, _percent, _split_header, _path_header, _match, _host, _visibility, _port_as_name],
    ids=lambda change: change.__name__.strip("_"),
)
def test_9_what_is_served_changes_the_hash(change: Callable[[Ingress], None]) -> None:
    changed = example()
    change(changed)
    assert version(changed) != version(example())


def test_9_labels_annotations_and_status_do_not_change_the_hash() -> None:
    changed = example()
    changed.metadata.labels = {"a": "b"}
    changed.metadata.annotations = {"c": "d"}
    changed.metadata.generation = 7
    changed.status.observed_generation = 7
    assert version(changed) == version(example())
