"""NATS as a part of the stack: where it listens, who may read what, what runs."""

import json
import stat
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from local_cluster import nats
from local_cluster.eventing import base_manifests, pod_manifests
from local_cluster.system import Components, SystemLayout

JETSTREAM = Components(eventing="jetstream")


def layout(folder: Path) -> SystemLayout:
    return SystemLayout(
        subnet=IPv4Network("127.9.0.0/16"), http_host="127.0.0.1", http_port=8080, state_dir=folder, envoy=Path("envoy")
    )


def test_only_its_owner_reads_the_configuration(tmp_path: Path) -> None:
    password = nats.prepare(layout(tmp_path), keeps_state=False)
    path = tmp_path / "nats" / "nats.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    config = json.loads(path.read_text())
    assert config["authorization"] == {"user": "knuv", "password": password}
    assert (config["host"], config["port"]) == ("127.9.0.7", 4222)
    assert config["jetstream"]["store_dir"] == str(tmp_path / "nats" / "store")


def test_nothing_secret_is_in_the_pod_or_in_the_config_map(tmp_path: Path) -> None:
    password = nats.prepare(layout(tmp_path), keeps_state=False)
    secret, config_map = nats.base_manifests(layout(tmp_path), password)
    assert secret["kind"] == "Secret"
    assert password not in json.dumps([config_map, *nats.pod_manifests(layout(tmp_path))])
    assert "nats://127.9.0.7:4222" in config_map["data"]["eventing-nats"]


def test_what_was_stored_stays_where_the_stack_keeps_its_state(tmp_path: Path) -> None:
    stored = tmp_path / "nats" / "store" / "stream"
    for keeps_state in (True, False):
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text("events")
        nats.prepare(layout(tmp_path), keeps_state=keeps_state)
        assert stored.exists() == keeps_state


def test_where_pods_have_networks_it_is_behind_a_service(tmp_path: Path) -> None:
    netns = replace(layout(tmp_path), pods_have_networks=True)
    assert nats.server_config(netns, "password")["host"] == "0.0.0.0"
    _, config_map = nats.base_manifests(netns, "password")
    assert "nats://nats.knative-eventing.svc.cluster.local:4222" in config_map["data"]["eventing-nats"]
    service, deployment = nats.pod_manifests(netns)
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"] == {"app": "nats"}


def test_channels_are_on_jetstream_where_it_was_asked_for(tmp_path: Path) -> None:
    maps = {each["metadata"]["name"]: each.get("data") for each in base_manifests(JETSTREAM)}
    assert "NatsJetStreamChannel" in maps["config-br-default-channel"]["channel-template-spec"]
    assert "NatsJetStreamChannel" in maps["default-ch-webhook"]["default-ch-config"]
    found = {(each["kind"], each["metadata"]["name"]) for each in pod_manifests(layout(tmp_path), JETSTREAM, "token")}
    dispatcher = {("Deployment", "jetstream-ch-dispatcher"), ("Service", "jetstream-ch-dispatcher")}
    assert dispatcher <= found
    others = pod_manifests(layout(tmp_path), Components(eventing="journal"), "token")
    assert not dispatcher & {(each["kind"], each["metadata"]["name"]) for each in others}
