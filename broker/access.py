"""Who may send to us, while OIDC is on: tokens are verified, then EventPolicies asked.

    identify   the token of a request -> a subject, or a status       401, 500
    verdict    a subject and the policies of an object -> a status    403, 500, 0

Source: knative/eventing `pkg/auth`; spec eventing-broker.md 9; conformance statement 96.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from eventing.features import AuthorizationMode, Features
from eventing.filters.dialects import Attributes, Matches, compile_trigger
from kube.client import Client
from kube.informer import Informer
from kube.models.duck import AppliedPolicy
from kube.models.eventpolicy import EventPolicy
from proxies.logs import Logger
from proxies.messages import RequestHead

if TYPE_CHECKING:
    from broker.oidc import Verifier

__all__ = ["Access"]

_ACCOUNT: Final = "system:serviceaccount:"
_BEARER: Final = b"Bearer "


class Access:
    """Of one process. Nothing is asked and nothing is loaded before OIDC is on."""

    def __init__(self, client: Client, log: Logger) -> None:
        self._client = client
        self._log = log
        self._features = Features()
        self._verifier: Verifier | None = None
        self._policies = Informer(client, EventPolicy, log=log)
        self._filters: dict[tuple[str, str], Matches] = {}
        self._policies.on_change(self._changed)

    async def start(self) -> None:
        """Return when all policies are known: OIDC may be turned on at any time."""
        await self._policies.start()

    async def stop(self) -> None:
        """Ask no more."""
        await self._policies.stop()
        if self._verifier is not None:
            await self._verifier.stop()

    def take_features(self, features: Features) -> None:
        """The flags are these."""
        self._features = features
        if features.is_oidc_on:
            if self._verifier is None:
                from broker.oidc import Verifier

                self._verifier = Verifier(self._client, self._log)
            self._verifier.discover(features.discovery_base_url)

    def identify(self, head: RequestHead, audience: str | None, then: Callable[[str | int], None]) -> None:
        """Call `then` with the subject of the request's token, or with the status that it deserves, at once or later.

        `audience`: what the token has to be for; None: that is not known.
        """
        value = head.get(b"authorization")
        if audience is None:
            then(500)
        elif not value or self._verifier is None:
            then(401)
        else:
            self._verifier.verify(value.removeprefix(_BEARER), audience, lambda subject: then(subject or 401))

    def verdict(self, subject: str, policies: Sequence[AppliedPolicy], namespace: str, attributes: Attributes) -> int:
        """Return 0 when `subject` may send such an event to an object of `namespace` to which `policies` apply."""
        if not policies:
            return 0 if self._is_allowed_by_default(subject, namespace) else 403
        found = [self._policies.get(namespace, each.name) for each in policies]
        if any(policy is None for policy in found):
            return 500
        for policy in found:
            assert policy is not None
            if any(_is_meant(subject, pattern) for pattern in policy.status.from_):
                # The first that knows the subject decides; others are not asked (spec 9.2).
                return 0 if self._filters[policy.key](attributes) else 403
        return 403

    def _is_allowed_by_default(self, subject: str, namespace: str) -> bool:
        mode = self._features.authorization_mode
        if mode is AuthorizationMode.SAME_NAMESPACE:
            return subject.startswith(f"{_ACCOUNT}{namespace}:")
        return mode is AuthorizationMode.ALLOW_ALL

    def _changed(self, old: EventPolicy | None, new: EventPolicy | None) -> None:
        if new is None:
            assert old is not None
            self._filters.pop(old.key, None)
            return
        key = new.key

        def problem(text: str) -> None:
            self._log.warning("filter_unusable", event_policy="/".join(key), problem=text)

        self._filters[key] = compile_trigger(new.spec.filters, None, problem)


def _is_meant(subject: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return subject.startswith(pattern[:-1])
    return subject.lower() == pattern.lower()
