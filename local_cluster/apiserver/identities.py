"""Who holds a token. What is kept and compared are digests, so that the work is equal for right and wrong tokens."""

import hashlib
from collections.abc import Mapping

from local_cluster.apiserver.errors import unauthorized
from local_cluster.apiserver.objects import Identity
from local_cluster.apiserver.tokens import ServiceAccountTokens

__all__ = ["Identities"]


class Identities:
    """The tokens that a server accepts: `known` ones, and those that `issued` recognises."""

    def __init__(self, known: Mapping[str, Identity], issued: ServiceAccountTokens) -> None:
        self._known: dict[bytes, Identity] = {}
        self._issued = issued
        for token, identity in known.items():
            self.add(token, identity)

    def add(self, token: str, identity: Identity) -> None:
        """Accept `token` for `identity`, who is in `system:authenticated` like everybody."""
        groups = tuple(dict.fromkeys((*identity.groups, "system:authenticated")))
        self._known[_digest(token)] = Identity(identity.username, groups)

    def of(self, token: str) -> Identity | None:
        """For whom `token` stands, or None."""
        if not token:
            return None
        known = self._known.get(_digest(token))
        if known is None and (issued := self._issued.identity_of(token)) is not None:
            self.add(token, issued)  # asked once for each account
            known = self._known[_digest(token)]
        return known

    def authenticate(self, authorization: str) -> Identity:
        """By an `Authorization` field. Raises 401."""
        scheme, _, token = authorization.partition(" ")
        identity = self.of(token.strip()) if scheme.lower() == "bearer" else None
        if identity is None:
            raise unauthorized()
        return identity


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
