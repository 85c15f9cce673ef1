"""Where a program listens or is reached."""

from dataclasses import dataclass

__all__ = ["Address"]


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, port_min: int = 1) -> "Address":
        """`host:port`, `:port` for all addresses, `[v6]:port`. Port 0, where it is allowed: any that is free.

        Raises `ValueError`.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or not port_min <= int(port) < 1 << 16:
            raise ValueError("expected host:port")
        return cls(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - what an empty host says

    @classmethod
    def parse_any(cls, text: str) -> "Address":
        """The same, and port 0 is allowed."""
        return cls.parse(text, port_min=0)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_everywhere(self) -> bool:
        """Whether it means all addresses of a machine."""
        return self.host == "0.0.0.0"  # noqa: S104 - what it is compared with

    @property
    def dialled(self) -> "Address":
        """Where a program on the same machine reaches it."""
        return Address("127.0.0.1", self.port) if self.is_everywhere else self
