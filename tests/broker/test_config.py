"""`broker/config.py`: the environment of each process, and everything that is wrong with it at once."""

import pytest

from broker.config import DISPATCHER, FILTER, INGRESS, Config, Process
from broker.dispatcher import DispatcherRole
from broker.filter import FilterRole
from broker.ingress import IngressRole
from proxies.environment import ConfigError

LEAST = {
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    "KUBECONFIG": "",
    "SYSTEM_NAMESPACE": "knative-eventing",
    "POD_NAME": "pod",
    "CONTAINER_NAME": "ingress",
    "NAMESPACE": "knative-eventing",
}


@pytest.fixture(autouse=True)
def mounted(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that Kubernetes mounts into every pod."""
    folder = tmp_path_factory.mktemp("mounted")
    (folder / "ca.crt").write_text("")
    (folder / "token").write_text("t")
    monkeypatch.setattr("kube.config._SERVICE_ACCOUNT", folder)


def test_what_holds_unless_said_otherwise() -> None:
    config = Config.from_env(LEAST, INGRESS)
    assert (config.port, config.tls_port, config.drain_s) == (8080, 8443, 45)
    assert (config.cluster_domain, config.bind_address) == ("cluster.local", None)
    assert (config.event_bytes_max, config.held_bytes_max) == (64 << 20, 256 << 20)


@pytest.mark.parametrize(("process", "ports"), [(INGRESS, "INGRESS_PORT"), (FILTER, "FILTER_PORT")])
def test_each_has_ports_of_its_own(process: Process, ports: str) -> None:
    config = Config.from_env({**LEAST, ports: "80", f"{ports}_HTTPS": "443"}, process)
    assert (config.port, config.tls_port) == (80, 443)
    assert Config.from_env({**LEAST, ports: "80"}, DISPATCHER).port == 8080


def test_everything_that_is_wrong_is_said_together() -> None:
    environ = {
        **LEAST,
        "POD_NAME": "",
        "FILTER_PORT": "70000",
        "TLS_MIN_VERSION": "1.1",
        "KNUV_EVENT_BYTES_MAX": "0",
        "KNUV_DRAIN_SECONDS": "nan",
        "KNUV_SERVICE_RESOLUTION": "hosts",
    }
    del environ["NAMESPACE"], environ["SYSTEM_NAMESPACE"]
    with pytest.raises(ConfigError) as wrong:
        Config.from_env(environ, FILTER)
    assert {problem.partition("=")[0].partition(":")[0] for problem in wrong.value.problems} == {
        "required key NAMESPACE missing value",
        "required key SYSTEM_NAMESPACE missing value",
        "POD_NAME",
        "FILTER_PORT",
        "TLS_MIN_VERSION",
        "KNUV_EVENT_BYTES_MAX",
        "KNUV_DRAIN_SECONDS",
        "KNUV_SERVICE_RESOLUTION",
    }


@pytest.mark.parametrize("role", [FilterRole, IngressRole])
@pytest.mark.parametrize("text", ["0", "-1", "many"])
def test_38_passages_have_to_be_some(role: type[FilterRole | IngressRole], text: str) -> None:
    with pytest.raises(ConfigError, match="MAX_TTL"):
        role({"MAX_TTL": text})


LATER = {"KNUV_JETSTREAM_DEAD_LETTERS_AGE": "7d", "KNUV_JETSTREAM_DEDUPLICATION": "none"}
DEBUG = {"KNUV_DEBUG_ADDRESS": "10.0.0.1:1"}


@pytest.mark.parametrize(
    ("role", "environ"),
    [
        (FilterRole, {"MAX_TTL": "0", **LATER, **DEBUG}),
        (IngressRole, {"MAX_TTL": "0", **LATER, **DEBUG}),
        (DispatcherRole, {"KNUV_CHANNELS": "jetstream", **LATER, **DEBUG}),
        (
            DispatcherRole,
            {
                "KNUV_CHANNELS": "journal",
                "KNUV_JOURNAL_DIR": "",
                "KNUV_JOURNAL_BYTES_MAX": "0",
                "KNUV_EARLY_FILTERS": "maybe",
                **DEBUG,
            },
        ),
        (DispatcherRole, {"KNUV_CHANNELS": "kafka", "KNUV_EARLY_FILTERS": "maybe"}),
    ],
)
def test_everything_that_is_wrong_with_a_role_is_said_together_and_at_the_start(
    role: type[FilterRole | IngressRole | DispatcherRole], environ: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as wrong:
        role(environ)
    named = {problem.partition("=")[0].removesuffix(" missing value") for problem in wrong.value.problems}
    assert {each.removeprefix("required key ") for each in named} == {
        *(name for name in environ if environ[name] not in ("journal", "jetstream")),
        *(["KNUV_DEBUG_TOKEN"] if "KNUV_DEBUG_ADDRESS" in environ else []),
    }


@pytest.mark.parametrize("role", [FilterRole, IngressRole])
@pytest.mark.parametrize(
    ("name", "value"), [("KNUV_JETSTREAM_DEAD_LETTERS_AGE", "7d"), ("KNUV_JETSTREAM_DEDUPLICATION", "none")]
)
def test_settings_of_what_begins_later_are_refused_at_the_start(
    role: type[FilterRole | IngressRole], name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        role({name: value})
