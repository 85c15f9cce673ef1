"""Trust bundles: which authorities of a ConfigMap are believed."""

import json
from pathlib import Path
from typing import Any

from eventing.authorities import Authorities
from eventing.bundles import Bundles
from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from proxies.logs import Logger
from tests.support.certificates import Authority

_BEGIN = "-----BEGIN CERTIFICATE-----\n"


class _Told(Authorities):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = ""

    def trust(self, bundles: str) -> None:
        super().trust(bundles)
        self.told = bundles


def _take(*texts: str) -> tuple[str, list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    authorities = _Told()
    metadata = ObjectMeta(
        name="b", namespace="knative-eventing", labels={"networking.knative.dev/trust-bundle": "true"}
    )
    bundle = ConfigMap(metadata=metadata, data={f"key-{index}": text for index, text in enumerate(texts)})
    log = Logger("test", write=lambda line: said.append(json.loads(line)))
    Bundles(authorities, log).take([bundle])
    return authorities.told, said


def test_what_is_around_certificates_does_no_harm_to_them(tmp_path: Path) -> None:
    one, other = (Authority(tmp_path, name).ca_file.read_text() for name in ("one", "other"))
    told, said = _take(f"first\n{one}and\n{other}last", _BEGIN * 10 + one)
    assert [each in told for each in (one, other)] == [True, True]
    assert told.count(_BEGIN) == 3
    assert not said


def test_a_certificate_that_is_none_is_told_and_costs_no_other_key_its_own(tmp_path: Path) -> None:
    good = Authority(tmp_path).ca_file.read_text()
    told, said = _take(f"{_BEGIN}bm9uZQ==\n-----END CERTIFICATE-----\n", good)
    assert told.strip() == good.strip()
    assert [(each["message"], each["key"]) for each in said] == [("trust_bundle_ignored", "key-0")]
