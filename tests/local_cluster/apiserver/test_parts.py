"""The small parts: JSONPath, ages, addresses, certificates, the store's history, the walk over a schema."""

import ipaddress
import random
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.addresses import AddressPool, AddressRefused
from local_cluster.apiserver.certificates import CertificateAuthority
from local_cluster.apiserver.columns import age_text, selector_text
from local_cluster.apiserver.errors import StatusError
from local_cluster.apiserver.feeds import Feeds, Pump, Watcher
from local_cluster.apiserver.jsonpath import JsonPathError, compile_path
from local_cluster.apiserver.rules import is_same
from local_cluster.apiserver.selectors import LabelSelector, parse_fields, parse_labels
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.versions import Selection

DOCUMENT = {
    "metadata": {"labels": {"serving.knative.dev/configuration": "hello"}},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "RoutesReady", "status": "False", "reason": "It"},
        ],
        "replicas": 0,
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".status.replicas", [0]),
        ("{.status.replicas}", [0]),
        ("status.replicas", [0]),
        (r".metadata.labels['serving\.knative\.dev/configuration']", ["hello"]),
        (r".metadata.labels.serving\.knative\.dev/configuration", ["hello"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type == 'RoutesReady')].reason", ["It"]),
        (".status.conditions[?(@.type!='Ready')].status", ["False"]),
        (".status.conditions[0].type", ["Ready"]),
        (".status.conditions[-1].type", ["RoutesReady"]),
        (".status.conditions[*].type", ["Ready", "RoutesReady"]),
        (".status.none.deeper", []),
        (".status.conditions[7]", []),
    ],
)
def test_json_paths_lead_to_values(path: str, found: list[Any]) -> None:
    assert compile_path(path).find(DOCUMENT) == found


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b)]", ".a..b", ".a[b]"])
def test_json_paths_that_cannot_be_read_are_refused(path: str) -> None:
    with pytest.raises(JsonPathError):
        compile_path(path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_700, "3h15m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (315_360_000, "10y"),
        (-1, "0s"),
        (-5, "<invalid>"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: int, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    then = (now - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert age_text(then, now) == text


def test_an_age_of_nothing_is_unknown() -> None:
    assert age_text(None) == "<unknown>"


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3))
def test_a_selectors_text_means_the_same_as_the_selector(labels: dict[str, str]) -> None:
    expression = {"key": "a", "operator": "NotIn", "values": ["x", "y"]}
    selector = {"matchLabels": {"b": "y"}, "matchExpressions": [expression, {"key": "c", "operator": "Exists"}]}
    assert parse_labels(selector_text(selector)).matches(labels) == LabelSelector.from_object(selector).matches(labels)


def test_addresses_are_handed_out_once_until_the_network_is_full() -> None:
    pool = AddressPool(ipaddress.ip_network("10.0.0.0/29"))
    taken = [pool.take() for _ in range(6)]
    assert taken == [f"10.0.0.{number}" for number in range(1, 7)]
    with pytest.raises(AddressRefused, match="full"):
        pool.take()
    pool.release("10.0.0.3")
    assert pool.take() == "10.0.0.3"


@pytest.mark.parametrize("wanted", ["10.0.1.1", "nonsense", "::1"])
def test_addresses_outside_the_network_are_refused(wanted: str) -> None:
    with pytest.raises(AddressRefused):
        AddressPool(ipaddress.ip_network("10.0.0.0/29")).take(wanted)


def test_a_saved_authority_signs_for_those_who_trusted_it_before(tmp_path: Path) -> None:
    created = CertificateAuthority.create()
    created.save(tmp_path / "ca")
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600
    loaded = CertificateAuthority.load(tmp_path / "ca")
    assert loaded.certificate_pem == created.certificate_pem
    issued = loaded.issue_server(["api.example"], ["127.5.0.1"])
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(created.certificate_pem))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["api.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.5.0.1"]
    assert issued.ssl_context().minimum_version is ssl.TLSVersion.TLSv1_3


def test_an_authority_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        CertificateAuthority.load(tmp_path)


async def test_a_watcher_that_does_not_keep_up_is_closed_not_robbed() -> None:
    store = Store(first_version=0)
    collection = store.open("configmaps.", lambda _: {})
    slow, pump = Watcher(wants_bookmarks=False, queue_max=3), Pump()
    feeds = collection.follower = Feeds(pump)
    feeds.join(Selection(), "form", lambda seen: seen.type.encode(), slow)
    for number in range(4):
        store.put("configmaps.", {"metadata": {"name": f"c{number}", "namespace": "default"}})
    pump.flush()
    assert slow.overflowed
    assert slow.is_closed
    assert await slow.take() == []


@given(st.integers(0, 2**32), st.integers(1, 20))
def test_snapshot_and_changes_together_are_the_state_at_every_version(seed: int, history_max: int) -> None:
    """Whoever starts from any version that the history reaches ends with exactly the server's objects."""
    chance = random.Random(seed)
    store = Store(first_version=100, history_max=history_max)
    collection = store.open("configmaps.", lambda _: {})
    states: dict[int, dict[str, int]] = {100: {}}
    for _ in range(30):
        name = chance.choice("abcd")
        existing = collection.get("default", name)
        if existing is not None and chance.random() < 0.4:
            store.remove("configmaps.", existing)
        else:
            store.put("configmaps.", {"metadata": {"name": name, "namespace": "default"}})
        states[store.version] = {stored.name: stored.version for stored in collection.select(Selection())}
    for version, state in states.items():
        if len(states) - 1 - list(states).index(version) > history_max:
            with pytest.raises(StatusError, match="too old"):
                collection.since(version)
            continue
        followed = dict(state)
        for change in collection.since(version):
            if change.is_deletion:
                del followed[change.state.name]
            else:
                followed[change.state.name] = change.version
        assert followed == states[store.version]


_SELECTIONS = [
    Selection(namespace, parse_labels(labels), parse_fields(fields, ["metadata.name", "spec.node"]))
    for namespace in ("", "one")
    for labels in ("", "l=1", "l=", "l!=1", "l in (1,2)", "!l", "m,l=2")
    for fields in ("", "metadata.name=a", "spec.node=x", "spec.node=", "spec.node!=x")
]


@given(st.integers(0, 2**32))
async def test_every_feed_gets_exactly_what_its_selection_sees(seed: int) -> None:
    """Feeds are found by what they are pinned to; asking every selection about every change is the plain version."""
    chance = random.Random(seed)
    store, pump = Store(first_version=100), Pump()
    collection = store.open("pods.", lambda obj: {"spec.node": obj["spec"]} if obj.get("spec") else {})
    feeds = collection.follower = Feeds(pump)
    watchers = {selection: Watcher(wants_bookmarks=False) for selection in _SELECTIONS}
    for selection, watcher in watchers.items():
        feeds.join(selection, "form", lambda seen: f"{seen.type}{seen.change.version}".encode(), watcher)
    for _ in range(30):
        name, namespace = chance.choice("ab"), chance.choice(("one", "two"))
        existing = collection.get(namespace, name)
        if existing is not None and chance.random() < 0.3:
            store.remove("pods.", existing)
            continue
        labels = {label: chance.choice(("", "1", "2")) for label in "lm" if chance.random() < 0.5}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        store.put("pods.", {"metadata": metadata, "spec": chance.choice(("", "x", "y"))})
    pump.flush()
    for selection, watcher in watchers.items():
        watcher.close()
        seen = filter(None, map(selection.sees, collection.since(100)))
        assert await watcher.take() == [f"{each.type}{each.change.version}".encode() for each in seen]


def test_a_write_that_says_only_again_who_owns_what_changes_nothing() -> None:
    def owned(*managers: tuple[str, str], **fields: object) -> dict[str, Any]:
        entries = [{"manager": name, "operation": "Update", "time": at, "fieldsV1": fields} for name, at in managers]
        return {"metadata": {"name": "a", "managedFields": entries}, "data": {}}

    before = owned(("knuv", "2026-01-01T00:00:00Z"), ("controller", "2026-01-01T00:00:01Z"))
    again = owned(("controller", "2026-01-01T00:00:01Z"), ("knuv", "2026-01-01T00:00:02Z"))
    assert is_same(again, before)
    assert not is_same(owned(("knuv", "2026-01-01T00:00:00Z")), before)
    assert not is_same(owned(("knuv", "t"), **{"f:data": {}}), owned(("knuv", "t")))
