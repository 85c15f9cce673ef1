"""The grammar of selectors, and what they select."""

from tests.conformance.apiserver.cases import Case, case, get, post
from tests.conformance.apiserver.tables.objects import config_map, pod

_OBJECTS = (
    post("configmaps", config_map("a", {"colour": "red", "size": "1"})),
    post("configmaps", config_map("b", {"colour": "blue", "example.com/size": "2"})),
    post("configmaps", config_map("c")),
)


def _labels(name: str, selector: str, found: str) -> Case:
    """`found` are the one-letter names that are selected."""
    listed = {f"items.{index}.metadata.name": letter for index, letter in enumerate(found)}
    step = get("configmaps", params={"labelSelector": selector}, has={"items.#": len(found), **listed})
    return case(f"labels-{name}", *_OBJECTS, step, of=(19,))


def _refused(name: str, kind: str, selector: str) -> Case:
    return case(f"refused-{name}", get("configmaps", params={kind: selector}, status=400, reason="BadRequest"))


def _fields(name: str, selector: str, found: int) -> Case:
    return case(
        f"fields-{name}",
        post("pods", pod("a", nodeName="one")),
        post("pods", pod("b", nodeName="two")),
        post("pods", pod("c")),
        get("pods", params={"fieldSelector": selector}, has={"items.#": found}),
        of=(21,),
    )


CASES = [
    _labels("equal", "colour=red", "a"),
    _labels("twice-equal", "colour==red", "a"),
    _labels("unequal-selects-those-without", "colour!=red", "bc"),
    _labels("in", "colour in (red,blue)", "ab"),
    _labels("in-with-spaces", " colour  in ( red , blue ) ", "ab"),
    _labels("notin-selects-those-without", "colour notin (red)", "bc"),
    _labels("exists", "colour", "ab"),
    _labels("absent", "!colour", "c"),
    _labels("all-must-hold", "colour,size=1", "a"),
    _labels("with-a-prefix", "example.com/size=2", "b"),
    _labels("greater", "size>0", "a"),
    _labels("empty", "", "abc"),
    _labels("empty-value", "colour=", ""),
    _refused("unclosed-set", "labelSelector", "colour in (red"),
    _refused("no-operator", "labelSelector", "colour red"),
    _refused("trailing-comma", "labelSelector", "colour=red,"),
    _refused("bad-key", "labelSelector", "/colour=red"),
    _refused("bad-value", "labelSelector", "colour=-"),
    _refused("unknown-field", "fieldSelector", "data.key=x"),
    _refused("field-set", "fieldSelector", "metadata.name in (a)"),
    _fields("name", "metadata.name=a", 1),
    _fields("not-name", "metadata.name!=a", 2),
    _fields("node", "spec.nodeName=one", 1),
    _fields("no-node", "spec.nodeName=", 1),
    _fields("phase", "status.phase=Pending", 3),
    _fields("two", "spec.nodeName!=,metadata.name!=b", 1),
    case(
        "fields-of-events",
        post("events", {"metadata": {"name": "e"}, "involvedObject": {
            "kind": "Pod", "name": "p", "namespace": "$ns", "uid": "u"}, "type": "Warning"}),
        post("events", {"metadata": {"name": "f"}, "involvedObject": {"kind": "Pod", "name": "q"}}),
        get("events", params={
            "fieldSelector": "involvedObject.name=p,involvedObject.namespace=$ns,involvedObject.kind=Pod,"
                             "involvedObject.uid=u,type=Warning",
        }, has={"items.#": 1}),
        of=(21,),
    ),
    case(
        "namespaces-by-their-name",
        get("/api/v1/namespaces", params={"labelSelector": "kubernetes.io/metadata.name=$ns"}, has={"items.#": 1}),
        of=(40,),
    ),
]  # fmt: skip
