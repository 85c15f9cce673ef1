"""cert-manager.io/v1 Certificate and acme.cert-manager.io/v1 Challenge, as far as the bridge to them reads them.

Source: cert-manager's API reference.
"""

from typing import Any, ClassVar

from msgspec import field

from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = [
    "CertManagerCertificate",
    "CertManagerCertificateStatus",
    "CertManagerCondition",
    "Challenge",
    "ChallengeSpec",
]


class CertManagerCondition(Condition):
    """A condition that names the generation it is about; 0: it does not say."""

    observed_generation: int = 0


class CertManagerCertificateStatus(Model):
    """What became of it. Times are RFC 3339 text; after `renewal_time` the next one is asked for."""

    conditions: list[CertManagerCondition] = []
    not_after: str | None = None
    renewal_time: str | None = None


class CertManagerCertificate(Resource):
    """A certificate that cert-manager keeps in a Secret; the spec stays as it is written."""

    RESOURCE: ClassVar = ResourceInfo("cert-manager.io", "v1", "certificates", "Certificate")
    spec: dict[str, Any] = {}
    status: CertManagerCertificateStatus = field(default_factory=CertManagerCertificateStatus)


class ChallengeSpec(Model):
    """What an authority asks to be shown, for `dns_name`; `type` is `HTTP-01` or `DNS-01`."""

    dns_name: str = ""
    token: str = ""
    type: str = ""


class Challenge(Resource):
    """A question of an authority that is being answered, over HTTP by a Service that the Challenge controls."""

    RESOURCE: ClassVar = ResourceInfo("acme.cert-manager.io", "v1", "challenges", "Challenge")
    spec: ChallengeSpec = field(default_factory=ChallengeSpec)
