"""`proxies/tls.py`: settings, pairs that fit and pairs that do not, and which pods are believed."""

import ssl
from pathlib import Path

import pytest

from proxies.environment import ConfigError, Environment
from proxies.tls import PodSecurity, TlsSettings, Trust, load_pair, server_context
from tests.support.certificates import Authority, shown_by

PREFIX = "QUEUE_PROXY_TLS_"


def settings(**variables: str) -> TlsSettings:
    """What variables without their prefix come to. Raises `ConfigError`."""
    env = Environment({PREFIX + name: value for name, value in variables.items()})
    read = TlsSettings.read(env, PREFIX)
    env.finish()
    return read


@pytest.fixture
def pair(tmp_path: Path) -> tuple[bytes, bytes]:
    certificate, key = Authority(tmp_path).issue("127.0.0.1")
    return certificate.read_bytes(), key.read_bytes()


def test_nothing_but_tls_1_3_is_offered_by_default(pair: tuple[bytes, bytes]) -> None:
    context = server_context(settings(), *pair)
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_3,) * 2
    assert context.verify_mode is ssl.CERT_NONE


def test_versions_are_bounds(pair: tuple[bytes, bytes]) -> None:
    context = server_context(settings(MIN_VERSION="1.2"), *pair)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    context = server_context(settings(MIN_VERSION="1.2", MAX_VERSION="1.2"), *pair)
    assert context.maximum_version is ssl.TLSVersion.TLSv1_2


def test_suites_of_go_are_those_of_tls_1_2(pair: tuple[bytes, bytes]) -> None:
    names = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256"
    context = server_context(settings(MIN_VERSION="1.2", CIPHER_SUITES=names), *pair)
    older = [each["name"] for each in context.get_ciphers() if each["protocol"] == "TLSv1.2"]
    assert older == ["ECDHE-ECDSA-AES128-GCM-SHA256"]


@pytest.mark.parametrize("name", ["X25519", "P-256", "CurveP256", "P-384", "CurveP384", "P-521", "CurveP521"])
def test_one_curve_is_obeyed(pair: tuple[bytes, bytes], name: str) -> None:
    server_context(settings(CURVE_PREFERENCES=name), *pair)


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"MIN_VERSION": "1.1"}, "1.2 or 1.3"),
        ({"MIN_VERSION": "1.3", "MAX_VERSION": "1.2"}, "at most"),
        ({"CIPHER_SUITES": "TLS_RSA_WITH_RC4_128_SHA"}, "TLS_RSA_WITH_RC4_128_SHA"),
        ({"CURVE_PREFERENCES": "X25519,X448"}, "X448"),
    ],
)
def test_what_does_not_exist_is_refused_and_named(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        settings(**variables)


def test_a_pair_that_does_not_fit_together_changes_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pairs = [authority.issue("127.0.0.1", name) for name in ("one", "other")]
    (certificate, key), (other, _) = [(each.read_bytes(), secret.read_bytes()) for each, secret in pairs]
    context = server_context(TlsSettings(), certificate, key)
    for wrong in ((other, key), (b"garbage", key), (certificate, b""), (b"", b"")):
        with pytest.raises(ValueError, match="expected a certificate and its key in PEM"):
            load_pair(context, *wrong)
        assert shown_by(context, authority.ca_file) == ssl.PEM_cert_to_DER_cert(certificate.decode())


def test_trust_needs_a_certificate_and_keeps_what_it_has_otherwise(tmp_path: Path) -> None:
    authorities = Authority(tmp_path).ca_file.read_text()
    trust = Trust(authorities)
    kept = trust.context
    for nothing in ("", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError, match="expected certificates in PEM"):
            trust.renew(nothing)
    assert trust.context is kept
    # Nobody but these: what the system trusts does not count.
    assert kept.cert_store_stats()["x509_ca"] == 1
    assert kept.verify_mode is ssl.CERT_REQUIRED
    assert kept.minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_security_takes_the_trust_of_the_moment(tmp_path: Path) -> None:
    trust = Trust(Authority(tmp_path).ca_file.read_text())
    security = PodSecurity(trust, "Team")
    trust.renew(Authority(tmp_path, "next").ca_file.read_text())
    assert security.context is trust.context
    assert security.server_name == "data-plane.knative.dev"


@pytest.mark.parametrize(
    ("names", "is_believed"),
    [
        ([("DNS", "kn-user-team"), ("DNS", "data-plane.knative.dev")], True),
        ([("DNS", "data-plane.knative.dev")], False),
        ([("DNS", "kn-user-team2")], False),
        ([("DNS", "kn-user-*")], False),
        ([("URI", "kn-user-team")], False),
        ([], False),
    ],
)
def test_a_pod_is_believed_by_the_name_of_its_namespace(
    tmp_path: Path, names: list[tuple[str, str]], is_believed: bool
) -> None:
    security = PodSecurity(Trust(Authority(tmp_path).ca_file.read_text()), "Team")
    refusal = security.refusal({"subjectAltName": tuple(names)})
    assert (refusal == "") is is_believed
    if refusal:
        assert refusal.startswith('san "kn-user-team" does not have a matching name in [')
