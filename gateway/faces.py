"""The gateway's faces: their names, and the addresses at which they are."""

from dataclasses import dataclass

__all__ = ["EXTERNAL", "EXTERNAL_TLS", "FACES", "INTERNAL", "INTERNAL_TLS", "Address"]

EXTERNAL = "external_services"
INTERNAL = "internal_services"
EXTERNAL_TLS = "external_tls_services"
INTERNAL_TLS = "internal_tls_services"
FACES = (EXTERNAL, INTERNAL, EXTERNAL_TLS, INTERNAL_TLS)
"""Names of the faces, of their listeners and of their route configurations."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`host:port`, `:port` for all addresses, `[v6]:port`. Raises `ValueError`."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise ValueError("expected host:port")
        return cls(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - what an empty host says

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secured(self) -> "Address":
        """Where its TLS face is when nobody says: as far above it as 8443 is above 8080."""
        return Address(self.host, min(self.port + 363, 65535))

    @property
    def dialled(self) -> "Address":
        """Where a program on the same machine reaches it."""
        return Address("127.0.0.1", self.port) if self.host == "0.0.0.0" else self  # noqa: S104
