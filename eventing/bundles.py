"""Trust bundles: ConfigMaps of the system namespace with authorities that certificates of sinks may be signed by.

They are labelled; each of their keys holds some authorities. What cannot be used changes nothing, and one line says so.
Source: spec eventing-broker.md 3.3.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from eventing.authorities import Authorities
from kube.models.core import ConfigMap
from proxies.logs import Logger
from proxies.tls import Trust

__all__ = ["BUNDLES", "Bundles"]

_LABEL: Final = "networking.knative.dev/trust-bundle"
BUNDLES: Final = f"{_LABEL}=true"
"""The selector of them all."""
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
"""There is no `-` inside, so that many beginnings without an end cost no more than their length."""


class Bundles:
    """Hands the authorities of bundles over to those of one process."""

    def __init__(self, authorities: Authorities, log: Logger) -> None:
        self._authorities = authorities
        self._log = log

    def take(self, config_maps: Iterable[ConfigMap]) -> None:
        """These are all ConfigMaps of the namespace."""
        self._authorities.trust("\n".join(self._certificates(config_maps)))

    @staticmethod
    def is_one(config_map: ConfigMap) -> bool:
        """Whether it holds authorities."""
        return config_map.metadata.labels.get(_LABEL, "").lower() == "true"

    def _certificates(self, config_maps: Iterable[ConfigMap]) -> Iterator[str]:
        """Yield those that are good; a value without any is passed over."""
        for bundle in config_maps:
            if not self.is_one(bundle):
                continue
            for key, text in sorted(bundle.data.items()):
                certificates = "\n".join(_CERTIFICATE.findall(text))
                try:
                    Trust(certificates)
                except ValueError as error:
                    self._log.warning("trust_bundle_ignored", config_map=bundle.name, key=key, problem=str(error))
                else:
                    yield certificates
