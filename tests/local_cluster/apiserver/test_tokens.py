"""`local_cluster/apiserver/tokens.py`: TokenRequest, asked over HTTP."""

import pytest

from local_cluster.apiserver.tokens import ServiceAccountTokens
from tests.local_cluster.apiserver.raw import Api

ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default/token"


async def test_a_token_stands_for_its_account(api: Api) -> None:
    answer = await api.call("POST", ACCOUNT, {"kind": "TokenRequest", "spec": {"expirationSeconds": 600}})
    assert (answer.status, answer.data["kind"]) == (201, "TokenRequest")
    token = answer.data["status"]["token"]
    assert answer.data["status"]["expirationTimestamp"].endswith("Z")
    review = {"kind": "TokenReview", "spec": {"token": token}}
    seen = await api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert seen.data["status"]["user"]["username"] == "system:serviceaccount:default:default"
    again = await api.call("POST", ACCOUNT, {"kind": "TokenRequest", "spec": {}})
    assert again.data["status"]["token"] == token
    assert (await api.call("POST", ACCOUNT.replace("/default/token", "/none/token"), {"spec": {}})).status == 404
    assert (await api.get(ACCOUNT)).status == 405


@pytest.mark.parametrize("seconds", [1, "600", None, True])
async def test_a_wrong_lifetime_is_refused(api: Api, seconds: object) -> None:
    answer = await api.call("POST", ACCOUNT, {"spec": {"expirationSeconds": seconds}})
    assert answer.status == 400
    assert "expected a number from 600" in answer.data["message"]


def test_a_token_is_known_to_whoever_has_the_key() -> None:
    token = ServiceAccountTokens(b"k" * 32).issue("ns", "app")
    known = ServiceAccountTokens(b"k" * 32).identity_of(token)
    assert known is not None
    assert known.username == "system:serviceaccount:ns:app"
    assert known.groups == ("system:serviceaccounts", "system:serviceaccounts:ns")
    assert ServiceAccountTokens(b"l" * 32).identity_of(token) is None


def test_a_token_that_was_changed_is_nobodys() -> None:
    tokens = ServiceAccountTokens(b"k" * 32)
    token, other = tokens.issue("ns", "app"), tokens.issue("ns", "admin")
    forged = other.partition(".")[0] + "." + token.partition(".")[2]
    for text in (
        forged,
        token[:-1],
        token + "AAAA",
        token + ".",
        ".",
        "x.y",
        "ü.ü",
        "a" * 9999,
        token.partition(".")[0],
    ):
        assert tokens.identity_of(text) is None, text
