"""What adapters are told at start, and what they refuse (spec eventing-sources.md 1.2)."""

import json
import math
from pathlib import Path

import pytest

from proxies.environment import ConfigError
from sources.__main__ import main
from sources.apiserver import ApiServerConfig
from sources.election import parse_timing
from sources.ping import PingConfig


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1/"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return {"KUBECONFIG": str(path)}


SOURCE_CONFIG = json.dumps(
    {
        "namespaces": ["ns"],
        "allNamespaces": False,
        "resources": [{"gvr": {"Group": "apps", "Version": "v1", "Resource": "deployments"}, "selector": "a=b"}],
        "owner": {"apiVersion": "v1", "kind": "K"},
        "mode": "Resource",
        "filters": [{"exact": {"type": "t"}}],
        "failFast": True,
    }
)


def test_an_apiserver_adapter_is_told_what_to_watch_and_where_to_send(environ: dict[str, str]) -> None:
    config = ApiServerConfig.from_env(
        {
            **environ,
            "K_SINK": "http://sink/",
            "NAMESPACE": "ns",
            "NAME": "src",
            "K_CE_OVERRIDES": '{"extensions":{"a":"b"}}',
            "K_SINK_TIMEOUT": "7",
            "K_SOURCE_CONFIG": SOURCE_CONFIG,
        }
    )
    (watched,) = config.resources
    assert (watched.group, watched.version, watched.resource, watched.selector) == ("apps", "v1", "deployments", "a=b")
    assert (config.namespaces, config.mode, config.owner, config.fails_fast) == (("ns",), "Resource", ("v1", "K"), True)
    assert (config.target.url, config.target.path, config.adapter.sink_timeout_s) == ("http://sink/", "ns/src", 7.0)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1s"])
def test_a_sink_timeout_that_is_none(environ: dict[str, str], text: str) -> None:
    assert PingConfig.from_env({**environ, "K_SINK_TIMEOUT": text}).adapter.sink_timeout_s == math.inf


def test_everything_that_is_wrong_is_told_together(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        ApiServerConfig.from_env(
            {**environ, "K_SOURCE_CONFIG": "[]", "K_CE_OVERRIDES": "{", "K_LEADER_ELECTION_CONFIG": "1"}
        )
    told = "\n".join(refused.value.problems)
    for name in ("K_SOURCE_CONFIG", "K_CE_OVERRIDES", "K_SINK", "NAMESPACE", "K_LEADER_ELECTION_CONFIG"):
        assert name in told


@pytest.mark.parametrize(
    "wrong",
    [
        *({"resources": []}, {"resources": [{}]}, {"resources": [{"gvr": {"Version": "v1"}}]}, {"mode": "Other"}),
        *({"namespaces": "ns"}, {"namespaces": [1]}, {"filters": ["x"]}, {"owner": "x"}, {"resources": "x"}),
    ],
)
def test_a_source_config_that_cannot_be_is_refused(environ: dict[str, str], wrong: dict[str, object]) -> None:
    content = json.dumps({**json.loads(SOURCE_CONFIG), **wrong})
    with pytest.raises(ConfigError, match="K_SOURCE_CONFIG"):
        ApiServerConfig.from_env({**environ, "K_SINK": "http://s", "NAMESPACE": "n", "K_SOURCE_CONFIG": content})


def test_the_lease_is_timed_in_nanoseconds() -> None:
    timing = parse_timing('{"Buckets":1,"LeaseDuration":30000000000,"renewDeadline":20000000000,"RetryPeriod":0}')
    assert (timing.duration_s, timing.renew_deadline_s, timing.retry_s) == (30, 20, 2)
    assert parse_timing("").duration_s == 15
    for wrong in ("1", "{", '{"leaseDuration":"15s"}', '{"leaseDuration":1}', '{"leaseDuration":true}'):
        with pytest.raises(ValueError, match=r".+"):
            parse_timing(wrong)


@pytest.mark.parametrize("arguments", [[], ["pong"], ["ping", "apiserver"], ["ping", "--fast"]])
def test_a_command_line_that_is_wrong_gets_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "ping|apiserver" in capsys.readouterr().err
