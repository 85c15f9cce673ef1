"""Asking a container registry which digest a tag has at this moment.

Pure part: `Reference`, `credentials_for`, `parse_challenge`. Shell: `Registry`, a HEAD of the manifest, after the
registry's own kind of authentication where it asks for one. Source: OCI distribution specification; Docker registry
token authentication; go-containerregistry `pkg/name`, `pkg/v1/remote` (which hosts are spoken to without TLS).
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Credentials", "Reference", "Registry", "RegistryError", "credentials_for", "parse_challenge"]

_DOCKER_HUB = "index.docker.io"
_PLAIN = re.compile(r"(?:localhost|127\.\d+\.\d+\.\d+|\[::1\]|[^:]*\.local(?:host)?)(?::\d{1,5})?\Z")
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ANSWER_BYTES_MAX = 4 << 20
_CHALLENGE_PART = re.compile(r'([a-zA-Z]+)="([^"]*)"')


class RegistryError(Exception):
    """The digest cannot be had; the text says why, for the user."""


class Credentials(NamedTuple):
    """A name and a password for a registry."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The parts of an image reference."""

    registry: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, image: str) -> "Reference":
        """Split a reference that admission has accepted (`controller.images.is_reference`)."""
        name, _, digest = image.partition("@")
        first, slash, rest = name.partition("/")
        if not slash or not ("." in first or ":" in first or first == "localhost"):
            first, rest = _DOCKER_HUB, name if slash else f"library/{name}"
        repository, colon, tag = rest.rpartition(":")
        if not colon:
            repository, tag = rest, "latest"
        return cls(first, repository, tag, digest)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def manifest_url(self) -> str:
        """Where the manifest of the tag is."""
        scheme = "http" if _PLAIN.match(self.registry) else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def credentials_for(reference: Reference, secrets: Iterable[Mapping[str, str]]) -> Credentials | None:
    """What the pull secrets (their data) say about the image; the longest match of registry and path wins."""
    best: tuple[int, Credentials] | None = None
    for data in secrets:
        for server, entry in _auths(data).items():
            place = re.sub(r"^https?://", "", server).removesuffix("/").removesuffix("/v1").removesuffix("/v2")
            is_match = reference.name == place or f"{reference.name}/".startswith(f"{place}/")
            found = _credentials(entry) if is_match else None
            if found is not None and (best is None or len(place) > best[0]):
                best = len(place), found
    return best[1] if best is not None else None


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Scheme in lower case, and parameters, of a `WWW-Authenticate` header."""
    scheme, _, rest = header.partition(" ")
    return scheme.lower(), dict(_CHALLENGE_PART.findall(rest))


class Registry:
    """Asks. One session for all; `close` at the end."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def digest(self, reference: Reference, credentials: Credentials | None, timeout_s: float) -> str:
        """`sha256:...` of the tag. Raises `RegistryError`."""
        import aiohttp  # 8 MB, and many controllers ask nobody: docs/decisions/0011

        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"User-Agent": "knuv (serving)"})
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            return await self._digest(self._session, reference, credentials, timeout)
        except TimeoutError as error:
            raise RegistryError(f"HEAD {reference.manifest_url}: not answered within {timeout_s:g}s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RegistryError(f"HEAD {reference.manifest_url}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _digest(
        self,
        session: "aiohttp.ClientSession",
        reference: Reference,
        credentials: Credentials | None,
        timeout: "aiohttp.ClientTimeout",
    ) -> str:
        headers = {"Accept": _MANIFESTS}
        for attempt in range(2):
            async with session.head(
                reference.manifest_url, headers=headers, timeout=timeout, allow_redirects=True
            ) as response:
                status, found = response.status, response.headers.get("Docker-Content-Digest", "")
                challenge = response.headers.get("WWW-Authenticate", "")
            if status == 401 and attempt == 0 and challenge:
                headers["Authorization"] = await self._authorization(
                    session, reference, challenge, credentials, timeout
                )
                continue
            break
        if status != 200:
            raise RegistryError(f"HEAD {reference.manifest_url}: unexpected status code {status}")
        return found if _DIGEST.match(found) else await self._computed(session, reference, headers, timeout)

    async def _computed(
        self,
        session: "aiohttp.ClientSession",
        reference: Reference,
        headers: Mapping[str, str],
        timeout: "aiohttp.ClientTimeout",
    ) -> str:
        """For registries that do not say it: the digest of what they send."""
        async with session.get(reference.manifest_url, headers=headers, timeout=timeout) as response:
            body = await response.content.read(_ANSWER_BYTES_MAX + 1)
            if response.status != 200 or len(body) > _ANSWER_BYTES_MAX:
                raise RegistryError(f"GET {reference.manifest_url}: unexpected status code {response.status}")
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    async def _authorization(
        self,
        session: "aiohttp.ClientSession",
        reference: Reference,
        challenge: str,
        credentials: Credentials | None,
        timeout: "aiohttp.ClientTimeout",
    ) -> str:
        scheme, parameters = parse_challenge(challenge)
        basic = _basic(credentials) if credentials is not None else ""
        if scheme == "basic":
            if not basic:
                raise RegistryError("the registry asks for a name and a password, and no pull secret has them")
            return basic
        if scheme != "bearer" or "realm" not in parameters:
            raise RegistryError(f"the registry asks for an unknown authentication: {challenge[:200]}")
        realm = parameters["realm"]
        if reference.manifest_url.startswith("https:") and not realm.startswith("https:"):
            raise RegistryError(f"the registry asks for a token from {realm[:200]}, which is not spoken to securely")
        asked: dict[str, str] = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        headers = {"Authorization": basic} if basic else {}
        async with session.get(realm, params=asked, headers=headers, timeout=timeout) as response:
            body = await response.content.read(_ANSWER_BYTES_MAX)
            if response.status != 200:
                raise RegistryError(f"GET {realm}: unexpected status code {response.status}")
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise RegistryError(f"GET {realm}: no token in the answer")
        return f"Bearer {token}"


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def _auths(data: Mapping[str, str]) -> dict[str, Any]:
    """The registries in a Secret of type `kubernetes.io/dockerconfigjson`, or of its older form."""
    for key in (".dockerconfigjson", ".dockercfg"):
        try:
            parsed = json.loads(base64.b64decode(data[key]))
        except (KeyError, ValueError):
            continue
        found = parsed.get("auths") if key == ".dockerconfigjson" and isinstance(parsed, dict) else parsed
        return found if isinstance(found, dict) else {}
    return {}


def _credentials(entry: Any) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password") or ""))
    try:
        username, colon, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Credentials(username, password) if colon else None
