"""The bridge put together: Certificates of our class to cert-manager's, and what became of those back.

cert-manager answers an authority's question whether a name is ours by a Service that its Challenge controls; where that
is goes into `status.http01Challenges`, so that whoever serves the name leads there. Source: knative/serving
`pkg/reconciler/certificate/certificate.go`; spec control-plane.md 7.6.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from controller import keys
from controller.add_on import AddOn, Key
from controller.cert_manager.requests import NameTooLong, change, is_as_wanted, want
from controller.cert_manager.settings import CONFIG_MAP, CertManagerSettings
from controller.collection import NOT_OWNED_RETRY_S, Collection, Reconciler
from controller.config import Config
from controller.process_metrics import ProcessMetrics
from kube.conditions import Conditions, ConditionSet
from kube.events import NORMAL, WARNING
from kube.models.cert_manager import CertManagerCertificate, Challenge
from kube.models.core import Service
from kube.models.networking import Certificate, CertificateStatus, Http01Challenge
from kube.timestamps import parse_time_s
from proxies.logs import Logger

__all__ = ["CLASS", "NAME", "CertManagerBridge"]

NAME = "cert-manager"
CLASS = "cert-manager.certificate.networking.knative.dev"
CONDITIONS = ConditionSet()
RENEWING = "Renewing"
_UNDER_WAY = frozenset(("InProgress", "Pending", "TemporaryCertificate"))
"""Reasons of a certificate that is not there, and is to come."""
_SOLVER_LABEL = "acme.cert-manager.io/http01-solver=true"
_BY_NAME = "dns-name"
_BY_CHALLENGE = "challenge"
_PATH = "/.well-known/acme-challenge/"


class CertManagerBridge(AddOn):
    """One bridge."""

    def __init__(
        self,
        config: Config,
        log: Logger | None = None,
        metrics: ProcessMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config, name=NAME, config_maps=[CONFIG_MAP], log=log, metrics=metrics, clock=clock)
        self._settings = CertManagerSettings.from_data({})
        self._certificates = Collection(self.client, Certificate)
        self._requests = Collection(self.client, CertManagerCertificate)
        self._challenges = Collection(self.client, Challenge)
        self._solvers = Collection(self.client, Service, label_selector=_SOLVER_LABEL)
        self._reconcile = Reconciler(self._certificates, CONDITIONS, self._work, self.now_s, on_failure=self._failed)
        self._requests.informer.add_index(_BY_NAME, _names_of)
        self._challenges.informer.add_index(_BY_NAME, lambda found: [f"{found.namespace}/{found.spec.dns_name}"])
        self._solvers.informer.add_index(_BY_CHALLENGE, _challenges_of)
        self._certificates.informer.on_change(self._certificate_changed)
        self._requests.informer.on_change(lambda old, new: self._consider((new or old or _NONE).key))
        self._challenges.informer.on_change(self._challenge_changed)
        self._solvers.informer.on_change(self._solver_changed)

    def collections(self) -> list[Collection[Any]]:
        """The kinds that are followed."""
        return [self._certificates, self._requests, self._challenges, self._solvers]

    def looked_after(self) -> Collection[Any]:
        """The one of them that is followed in the loop."""
        return self._certificates

    def read_settings(self, maps: Mapping[str, Mapping[str, str]]) -> None:
        """Take over the ConfigMap."""
        self._settings = CertManagerSettings.from_data(maps.get(CONFIG_MAP, {}))

    def ours(self) -> Iterable[Key]:
        """Certificates of our class."""
        return [found.key for found in self._certificates.informer.list() if _is_ours(found)]

    async def reconcile(self, key: Key) -> float | None:
        """One Certificate."""
        found = self._certificates.get(*key)
        return await self._reconcile(key) if found is not None and _is_ours(found) else None

    async def _work(self, certificate: Certificate, status: CertificateStatus, conditions: Conditions) -> float | None:
        status.http01_challenges = []
        try:
            body = want(certificate, self._settings)
        except NameTooLong as error:
            conditions.mark_false("Ready", "CommonName Too Long", str(error))
            return None
        request = self._requests.get(*certificate.key)
        if request is None:
            request = await self._requests.create(body)
            self.events.report(certificate, NORMAL, "Created", f"Created cert-manager's Certificate {request.name}")
        elif not request.is_controlled_by(certificate):
            text = f'There is an existing cert-manager Certificate "{request.name}" that we do not own.'
            conditions.mark_false("Ready", "NotOwned", text)
            return NOT_OWNED_RETRY_S
        elif not is_as_wanted(request, body):
            request = await self._requests.patch(request, change(body))
        return self._tell(request, status, conditions)

    def _tell(self, request: CertManagerCertificate, status: CertificateStatus, conditions: Conditions) -> float | None:
        """What became of the request; seconds until it is renewed, or None."""
        status.not_after = request.status.not_after
        ready = next((found for found in request.status.conditions if found.type == "Ready"), None)
        if ready is None or 0 < ready.observed_generation < request.metadata.generation:
            ready = None
            conditions.mark_unknown("Ready", "NoCertManagerCertCondition", "cert-manager has not looked at it yet.")
        elif ready.status == "True":
            conditions.mark_true("Ready")
        elif ready.status == "False" and ready.reason not in _UNDER_WAY:
            conditions.mark_false("Ready", ready.reason, ready.message)
        else:
            conditions.mark_unknown("Ready", ready.reason, ready.message)
        wait_s = _renewed_in_s(request, self.now_s())
        is_renewing = wait_s is not None and wait_s <= 0
        if is_renewing:
            conditions.mark_true(RENEWING, RENEWING, f"Renewing since {request.status.renewal_time}")
        elif conditions.get(RENEWING) is not None:
            conditions.mark_false(RENEWING, "UpToDate", "")
        is_answered = ready is not None and ready.status == "True" and not is_renewing
        if not is_answered:
            status.http01_challenges = list(self._open_challenges(request))
        return None if is_renewing else wait_s

    def _open_challenges(self, request: CertManagerCertificate) -> Iterable[Http01Challenge]:
        """Questions over HTTP about its names that somebody answers."""
        for name in request.spec.get("dnsNames", ()):
            for challenge in self._challenges.informer.by_index(_BY_NAME, f"{request.namespace}/{name}"):
                if challenge.spec.type != "HTTP-01":
                    continue
                for solver in self._solvers.informer.by_index(_BY_CHALLENGE, challenge.metadata.uid):
                    yield Http01Challenge(
                        url=f"http://{name}{_PATH}{challenge.spec.token}",
                        service_name=solver.name,
                        service_namespace=solver.namespace,
                        service_port=solver.spec.ports[0].port if solver.spec.ports else 0,
                    )

    def _failed(self, certificate: Certificate, error: Exception) -> None:
        self.events.report(certificate, WARNING, "InternalError", str(error))

    # Events.

    def _consider(self, key: Key) -> None:
        found = self._certificates.get(*key)
        if found is not None and _is_ours(found):
            self.loop.add(key)

    def _certificate_changed(self, old: Certificate | None, new: Certificate | None) -> None:
        if new is not None:
            self._consider(new.key)

    def _challenge_changed(self, old: Challenge | None, new: Challenge | None) -> None:
        for challenge in (old, new):
            if challenge is not None:
                name = f"{challenge.namespace}/{challenge.spec.dns_name}"
                for request in self._requests.informer.by_index(_BY_NAME, name):
                    self._consider(request.key)

    def _solver_changed(self, old: Service | None, new: Service | None) -> None:
        for solver in (old, new):
            owner = solver.metadata.controller() if solver is not None else None
            if solver is not None and owner is not None:
                self._challenge_changed(None, self._challenges.get(solver.namespace, owner.name))


_NONE = CertManagerCertificate()


def _is_ours(certificate: Certificate) -> bool:
    return keys.first_present(certificate.metadata.annotations, keys.CERTIFICATE_CLASS) == CLASS


def _names_of(request: CertManagerCertificate) -> list[str]:
    return [f"{request.namespace}/{name}" for name in request.spec.get("dnsNames", ())]


def _challenges_of(solver: Service) -> list[str]:
    owner = solver.metadata.controller()
    return [owner.uid] if owner is not None else []


def _renewed_in_s(request: CertManagerCertificate, now_s: float) -> float | None:
    """Until cert-manager asks for the next certificate; 0 or less: it does; None: nobody knows."""
    text = request.status.renewal_time
    if not text:
        return None
    try:
        return parse_time_s(text) - now_s
    except ValueError:
        return None  # it is cert-manager's to write a time
