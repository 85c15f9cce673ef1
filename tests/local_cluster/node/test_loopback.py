"""`local_cluster/node/loopback.py`."""

import json
from typing import Any

import msgspec

from kube.models.core import Pod
from local_cluster.node.loopback import PortRewrite, rewrite_ports

IP = "127.80.1.1"


def pod(*containers: dict[str, Any]) -> Pod:
    return msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": containers}}, Pod)


def queue_proxy(**env: str) -> dict[str, Any]:
    return {"name": "queue-proxy", "env": [{"name": key, "value": value} for key, value in env.items()]}


def rewritten(*containers: dict[str, Any]) -> PortRewrite:
    return rewrite_ports(pod(*containers), IP, lambda: 20123)


USER = {"name": "user-container", "ports": [{"name": "user-port", "containerPort": 8080}]}


def test_the_serving_container_and_queue_proxy_get_the_free_port() -> None:
    rewrite = rewritten(USER, queue_proxy(USER_PORT="8080"))
    assert rewrite.env["user-container"] == {"PORT": "20123"}
    assert rewrite.env["queue-proxy"] == {"KNUV_BIND_ADDRESS": IP, "USER_PORT": "20123"}
    assert rewrite.port == 20123


def test_every_probe_kind_inside_the_readiness_probe_is_rewritten() -> None:
    for probe in (
        {"httpGet": {"path": "/r", "port": 8080, "host": "127.0.0.1", "scheme": "HTTP"}, "periodSeconds": 1},
        {"tcpSocket": {"port": "8080", "host": "127.0.0.1"}, "successThreshold": 1},
        {"grpc": {"port": 8080, "service": None}},
    ):
        env = rewritten(USER, queue_proxy(SERVING_READINESS_PROBE=json.dumps(probe))).env["queue-proxy"]
        handler = next(iter(probe))
        assert json.loads(env["SERVING_READINESS_PROBE"]) == {**probe, handler: {**probe[handler], "port": 20123}}


def test_in_a_list_of_probes_only_those_at_the_declared_port_change() -> None:
    probes = [{"tcpSocket": {"port": 8080}}, {"httpGet": {"port": 9000}}, None]
    env = rewritten(USER, queue_proxy(SERVING_READINESS_PROBE=json.dumps(probes))).env["queue-proxy"]
    assert json.loads(env["SERVING_READINESS_PROBE"]) == [
        {"tcpSocket": {"port": 20123}},
        {"httpGet": {"port": 9000}},
        None,
    ]


def test_a_readiness_probe_that_is_not_json_is_left_to_queue_proxy() -> None:
    assert (
        rewritten(USER, queue_proxy(SERVING_READINESS_PROBE="{")).env["queue-proxy"]["SERVING_READINESS_PROBE"] == "{"
    )


def test_with_several_user_containers_the_one_with_the_port_serves() -> None:
    rewrite = rewritten({"name": "sidecar"}, {"name": "app", "ports": [{"containerPort": 3000}]}, queue_proxy())
    assert (rewrite.serving_container, rewrite.declared_port) == ("app", 3000)
    assert "sidecar" not in rewrite.env


def test_probes_at_the_declared_port_go_to_the_free_one_and_others_to_the_pod() -> None:
    rewrite = rewritten(USER, queue_proxy())
    assert rewrite.probe_address("user-container", IP, 8080) == ("127.0.0.1", 20123)
    assert rewrite.probe_address("user-container", IP, 8022) == (IP, 8022)
    assert rewrite.probe_address("queue-proxy", IP, 8080) == (IP, 8080)


def test_other_pods_keep_their_ports_and_learn_their_address() -> None:
    rewrite = rewritten({"name": "app", "ports": [{"containerPort": 8080}]})
    assert rewrite.env == {"app": {"KNUV_BIND_ADDRESS": IP}}
    assert rewrite.port == 0
    assert rewrite.probe_address("app", IP, 8080) == (IP, 8080)
