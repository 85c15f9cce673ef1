"""The ConfigMap `config-certmanager`: which issuer certificates of which type are asked of.

Source: knative/serving `pkg/reconciler/certificate/config/cert_manager.go`; spec control-plane.md 7.6.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controller import keys
from controller.configmaps import Data, parse_yaml
from kube.autoscaling.config import InvalidConfig

__all__ = ["CONFIG_MAP", "CertManagerSettings", "IssuerRef"]

CONFIG_MAP = "config-certmanager"
_KEYS = {
    keys.EXTERNAL_DOMAIN: "issuerRef",
    keys.CLUSTER_LOCAL_DOMAIN: "clusterLocalIssuerRef",
    keys.SYSTEM_INTERNAL: "systemInternalIssuerRef",
}
"""Type of certificate -> key of the map."""
_FIELDS = frozenset(("kind", "name", "group"))
IssuerRef = Mapping[str, str]
"""`kind` and `name`, and `group` for issuers that are not cert-manager's own."""
_SELF_SIGNED: IssuerRef = {"kind": "ClusterIssuer", "name": "knative-selfsigned-issuer"}


@dataclass(frozen=True, slots=True)
class CertManagerSettings:
    """What the map says."""

    issuers: Mapping[str, IssuerRef]

    def issuer(self, certificate_type: str) -> IssuerRef:
        """Of certificates of that type; those without one are for external domains."""
        return self.issuers.get(certificate_type, self.issuers[keys.EXTERNAL_DOMAIN])

    @classmethod
    def from_data(cls, data: Data) -> "CertManagerSettings":
        """Read the map. Raises `InvalidConfig` with everything that is wrong."""
        issuers: dict[str, IssuerRef] = {}
        problems = []
        for type_, key in _KEYS.items():
            try:
                issuers[type_] = _issuer(data[key], key) if key in data else _SELF_SIGNED
            except InvalidConfig as error:
                problems.append(str(error))
        if problems:
            raise InvalidConfig(f"{CONFIG_MAP}: {'; '.join(problems)}")
        return cls(issuers)


def _issuer(text: str, key: str) -> IssuerRef:
    found = parse_yaml(text, key)
    unknown = sorted(found.keys() - _FIELDS)
    if unknown:
        raise InvalidConfig(f"{key}: expected kind, name and group, got {', '.join(map(repr, unknown))}")
    for field in ("kind", "name"):
        if not found.get(field):
            raise InvalidConfig(f"{key}.{field}: expected the {field} of an issuer, got nothing")
    for field, value in found.items():
        if not isinstance(value, str):
            raise InvalidConfig(f"{key}.{field}: expected a text, got {value!r}")
    return found
