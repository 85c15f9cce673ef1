"""`kube.log_level`: what `config-logging` says of a component's level."""

import json

import pytest

from kube.log_level import LogLevel, level_of
from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from proxies.logs import Logger


@pytest.mark.parametrize(
    ("data", "level"),
    [
        ({}, "info"),
        ({"loglevel.activator": "Debug"}, "debug"),
        ({"zap-logger-config": json.dumps({"level": "error"})}, "error"),
        ({"zap-logger-config": json.dumps({"level": "error"}), "loglevel.activator": "warn"}, "warn"),
        ({"zap-logger-config": "{}"}, "info"),
        ({"zap-logger-config": "{"}, None),
        ({"zap-logger-config": "[]"}, None),
        ({"loglevel.activator": "loud"}, None),
    ],
)
def test_the_level_of_a_map(data: dict[str, str], level: str | None) -> None:
    assert level_of(data, "activator") == level


def config_map(level: str | None = None, name: str = "config-logging") -> ConfigMap:
    data = {} if level is None else {"loglevel.autoscaler": level, "loglevel.activator": "fatal"}
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="knative-serving"), data=data)


def test_the_log_and_all_that_are_bound_to_it_take_the_level_of_their_map() -> None:
    lines: list[bytes] = []
    log = Logger("autoscaler", write=lines.append)
    bound = log.bind(lease="one").bind(more="fields")
    level = LogLevel(log, component="autoscaler", config_map="config-logging")
    level.take(None, config_map("error"))
    assert (log.level, bound.level, lines) == ("error", "error", [])
    bound.info("not_written")
    level.take(None, config_map("debug", "config-other"))
    assert log.level == "error"
    level.take(config_map("error"), config_map("debug"))
    bound.debug("written")
    level.take(config_map("debug"), config_map("loud"))
    assert log.level == "debug"
    level.take(config_map("loud"), None)
    assert log.level == "info"
    assert [json.loads(line)["message"] for line in lines] == [
        "log_level",
        "written",
        "log_level_unreadable",
        "log_level",
    ]
