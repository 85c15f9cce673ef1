"""What a stack proves itself with: its certificate authority, and the key behind every token.

A stack that keeps its state keeps these, too, so that a kubeconfig from before opens its successor. Both lie in a
folder of mode 0700, in files of mode 0600.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from local_cluster.apiserver.certificates import CertificateAuthority, write_private
from local_cluster.apiserver.objects import Identity
from local_cluster.preparation import StackError

__all__ = ["Credentials", "identity_of"]

_KEY_FILE, _KEY_BYTES = "tokens.key", 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one stack, or of all that use the same state directory."""

    authority: CertificateAuthority
    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> "Credentials":
        """For a stack that remembers nothing."""
        return cls(CertificateAuthority.create(), secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def kept(cls, folder: Path) -> "Credentials":
        """Those in `folder`, made when there are none. Raises `StackError`."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            if not (folder / _KEY_FILE).exists():  # written last: with it all is there
                made = cls.fresh()
                made.authority.save(folder)
                write_private(folder / _KEY_FILE, made.key)
                return made
            key = (folder / _KEY_FILE).read_bytes()
            if len(key) != _KEY_BYTES:
                raise ValueError(f"{folder / _KEY_FILE}: expected {_KEY_BYTES} bytes, got {len(key)}")
            return cls(CertificateAuthority.load(folder), key)
        except (OSError, ValueError) as error:
            raise StackError(f"--state-dir: {error}; delete {folder}, and kubeconfigs from before end") from error

    def token(self, name: str) -> str:
        """The token of one of the stack's own users: admin, node, workloads."""
        proof = hmac.digest(self.key, f"user {name}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


def identity_of(name: str) -> Identity:
    """Whom the API server sees in one of the stack's own users."""
    if name == "admin":
        return Identity("kubernetes-admin", ("system:masters", "system:authenticated"))
    if name == "node":
        return Identity("system:node:local", ("system:nodes", "system:authenticated"))
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
    return Identity(f"system:serviceaccount:kube-system:{name}", groups)
