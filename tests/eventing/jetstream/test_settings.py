"""`config-nats`: what it says, and what is told of what is wrong in it."""

import base64
from pathlib import Path

import pytest

from eventing.jetstream.settings import NatsSettingsError, read_settings, secret_names
from tests.support.certificates import Authority


def data(text: str) -> dict[str, str]:
    return {"eventing-nats": text}


def test_an_empty_one_leads_to_the_usual_address() -> None:
    settings = read_settings({}, {})
    assert settings.servers == ("nats://nats.nats-io.svc.cluster.local",)
    assert (settings.user, settings.credentials, settings.tls) == ("", "", None)


def test_several_servers_and_a_wait_in_milliseconds() -> None:
    settings = read_settings(
        data("url: nats://a:4222, nats://b\nconnOpts: {reconnectWait: 1500, maxReconnects: 3}"), {}
    )
    assert settings.servers == ("nats://a:4222", "nats://b")
    assert settings.reconnect_wait_s == 1.5


def test_secrets_are_named_read_and_not_shown() -> None:
    text = "auth: {credentialFile: {secret: {name: creds, key: k}}, basic: {secret: {name: basic}}}"
    assert secret_names(data(text)).all == ["creds", "basic"]
    secrets = {"creds": {"k": b"the seed"}, "basic": {"username": b"me", "password": b"the password"}}
    settings = read_settings(data(text), secrets)
    assert (settings.user, settings.password, settings.credentials) == ("me", "the password", "the seed")
    assert "the seed" not in repr(settings)
    assert "the password" not in repr(settings)


def test_certificates_come_from_secrets_or_from_the_bundle(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    pem = authority.ca_file.read_bytes()
    secrets = {"pair": {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}, "ca": {"ca.crt": pem}}
    text = "auth: {tls: {secret: {name: pair}}}\ntls: {secret: {name: ca}}"
    assert secret_names(data(text)).all == ["pair", "ca"]
    settings = read_settings(data(text), secrets)
    assert settings.tls is not None
    assert len(settings.tls.get_ca_certs()) == 1
    bundled = read_settings(data(f"tls: {{caBundle: {base64.b64encode(pem).decode()}}}"), {})
    assert bundled.tls is not None
    assert len(bundled.tls.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "expected YAML"),
        ("- a", "expected a mapping, got list"),
        ("auth: 1", "auth: expected a mapping, got int"),
        ("url: 1", "url: expected text, got int"),
        ("url: http://a", "url: expected nats://host:port, got http://a"),
        ("url: nats://", "expected nats://host:port"),
        ("connOpts: {reconnectWait: no}", "expected milliseconds, got False"),
        ("connOpts: {reconnectWait: -1}", "expected milliseconds, got -1"),
        ("auth: {basic: {secret: {name: gone}}}", "the Secret gone does not exist"),
        ("auth: {basic: {secret: {name: empty}}}", "the Secret empty has no key username"),
        ("tls: {caBundle: '!'}", "caBundle: expected PEM in base64"),
        ("tls: {caBundle: aGVsbG8=}", "its certificates cannot be used"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(text: str, told: str) -> None:
    with pytest.raises(NatsSettingsError) as raised:
        read_settings(data(text), {"empty": {}})
    assert told in str(raised.value)
    assert str(raised.value).startswith("config-nats: ")
