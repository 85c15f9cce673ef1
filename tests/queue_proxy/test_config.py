"""`queue_proxy/config.py`: what the recorded environments do not show."""

import pytest

from proxies.environment import ConfigError
from queue_proxy.config import Config
from tests.support.queue_proxy import environment


@pytest.mark.parametrize(
    ("logging", "level", "want"),
    [
        ("", "", "info"),
        ("not json", "", "info"),
        ('{"level": "debug"}', "", "debug"),
        ('{"level": "debug"}', "warn", "warn"),
        ('{"level": 5}', "", "info"),
        ("[]", "", "info"),
    ],
)
def test_the_log_level_is_zaps_unless_it_is_overridden(logging: str, level: str, want: str) -> None:
    config = Config.from_env(environment(SERVING_LOGGING_CONFIG=logging, SERVING_LOGGING_LEVEL=level))
    assert config.log_level == want


def test_all_problems_are_reported_together() -> None:
    env = environment(CONTAINER_CONCURRENCY="x", SERVING_READINESS_PROBE="{", ENABLE_HTTP_FULL_DUPLEX="perhaps")
    del env["USER_PORT"]
    with pytest.raises(ConfigError) as raised:
        Config.from_env(env)
    problems = "\n".join(raised.value.problems)
    for name in ("CONTAINER_CONCURRENCY", "SERVING_READINESS_PROBE", "ENABLE_HTTP_FULL_DUPLEX", "USER_PORT"):
        assert name in problems


def test_the_readiness_probe_is_decoded_as_a_list_when_the_feature_is_on() -> None:
    text = '[{"tcpSocket": {"port": 8080}}]'
    env = environment(SERVING_READINESS_PROBE=text, ENABLE_MULTI_CONTAINER_PROBES="true")
    assert [probe.port for probe in Config.from_env(env).readiness_probes] == ["8080"]
