"""Where requests are sent that have waited too long, and what is no place to send anybody to."""

import pytest

from activator.fallback import FALLBACK_AFTER, FALLBACK_URL, Fallback
from proxies.messages import RequestHead


def location(url: str, target: bytes) -> bytes:
    fallback = Fallback.read({FALLBACK_URL: url})
    assert fallback is not None
    answer = fallback.answer(RequestHead(b"GET", target, [], 0))
    assert answer.status == 307
    return dict(answer.fields)[b"Location"]


@pytest.mark.parametrize(
    ("url", "target", "expected"),
    [
        ("https://b.example.com", b"/a/b?c=d", b"https://b.example.com/a/b?c=d"),
        ("http://10.0.0.1:8080", b"//evil.example.com/", b"http://10.0.0.1:8080//evil.example.com/"),
        ("https://[fd00::1]:8443", b"/", b"https://[fd00::1]:8443/"),
        ("https://b.example.com", b"http://a.example.com/x", b"https://b.example.com/"),
        ("https://b.example.com", b"/" + 3000 * b"x", b"https://b.example.com/"),
        ("https://b.example.com/", b"/a", b"https://b.example.com/"),
        ("https://b.example.com/busy?from=knuv#top", b"/a", b"https://b.example.com/busy?from=knuv#top"),
        ("https://b.example.com?busy", b"/a", b"https://b.example.com?busy"),
    ],
)
def test_a_host_alone_keeps_the_path_and_a_url_with_a_path_stands_for_itself(
    url: str, target: bytes, expected: bytes
) -> None:
    assert location(url, target) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ftp://b.example.com",
        "javascript:alert(1)",
        "//b.example.com",
        "b.example.com",
        "https://",
        "https:///path",
        "https://user:secret@b.example.com",
        "https://b.example.com:x",
        "https://b.example.com:99999",
        "https://b.example.com:0",
        "https://[fd00",
        "https://b.example.com/a b",
        "https://b.example.com/\r\nSet-Cookie: a=b",
        "https://b.example.com/\n",
        "https://b.example.com/ü",
        "https://b.example.com/" + 2048 * "x",
    ],
)
def test_what_is_no_url_of_a_web_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"serving\.knuv\.dev/fallback-url: expected"):
        Fallback.read({FALLBACK_URL: url})


@pytest.mark.parametrize("after", ["0s", "-1s", "5", "soon", "601s"])
def test_what_is_no_time_to_wait_is_refused(after: str) -> None:
    with pytest.raises(ValueError, match=r"serving\.knuv\.dev/fallback-after: expected"):
        Fallback.read({FALLBACK_URL: "https://b.example.com", FALLBACK_AFTER: after})


def test_without_a_url_there_is_none() -> None:
    assert Fallback.read({FALLBACK_AFTER: "1s"}) is None
    assert Fallback.read({FALLBACK_URL: ""}) is None
    fallback = Fallback.read({FALLBACK_URL: "https://b.example.com"})
    assert fallback is not None
    assert fallback.after_s == 5.0
