"""`queue_proxy/certificate.py`: which changes of the files count, and how often one that cannot be used is told."""

import asyncio
import json
import shutil
import ssl
from pathlib import Path

import pytest

from proxies.logs import Logger
from proxies.tls import TlsSettings
from queue_proxy import certificate
from queue_proxy.certificate import Certificate
from tests.support.certificates import Authority, shown_by
from tests.support.processes import eventually


class Mount:
    """A directory with a pair, which is looked at again and again."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.folder = folder / "certs"
        self.folder.mkdir()
        self.certificate_path, self.key_path = (self.folder / name for name in ("tls.crt", "tls.key"))
        self.count = 0

    def renew(self) -> bytes:
        """Put another pair there, and return its certificate in DER."""
        self.count += 1
        issued, key = self.authority.issue("127.0.0.1", f"server{self.count}")
        shutil.copy(key, self.key_path)
        shutil.copy(issued, self.certificate_path)
        return ssl.PEM_cert_to_DER_cert(issued.read_text())

    def shown(self, context: ssl.SSLContext) -> bytes | None:
        """The certificate that clients see, in DER."""
        return shown_by(context, self.authority.ca_file)


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    monkeypatch.setattr(certificate, "_CHECK_S", 0.01)
    return Mount(tmp_path)


class Followed(Certificate):
    """Knows what was told, and how often it has looked."""

    def __init__(self, mount: Mount) -> None:
        self.lines: list[bytes] = []
        self.looks = 0
        super().__init__(str(mount.folder), TlsSettings(), Logger("test", write=self.lines.append))

    @property
    def told(self) -> list[str]:
        """The events so far."""
        return [json.loads(line)["message"] for line in self.lines]

    async def has_looked(self) -> None:
        """Wait until it has looked a few times more."""
        looks = self.looks + 5
        await eventually(lambda: self.looks >= looks)

    def _look(self) -> tuple[tuple[int, ...], ...]:
        self.looks += 1
        return super()._look()


async def test_each_state_of_the_files_is_told_once_and_what_is_good_is_shown(mount: Mount) -> None:
    first = mount.renew()
    followed = Followed(mount)
    context = followed.start(asyncio.get_running_loop())
    try:
        assert mount.shown(context) == first

        mount.key_path.unlink()
        await followed.has_looked()
        assert followed.told == ["certificate_kept"]
        assert mount.shown(context) == first

        second = mount.renew()
        await eventually(lambda: mount.shown(context) == second)
        followed.lines.clear()

        mount.certificate_path.write_text("garbage")
        await followed.has_looked()
        assert followed.told == ["certificate_kept"]
        assert mount.shown(context) == second
    finally:
        followed.stop()


async def test_a_pair_that_is_there_again_unchanged_is_no_news(mount: Mount) -> None:
    mount.renew()
    followed = Followed(mount)
    followed.start(asyncio.get_running_loop())
    try:
        kept = mount.key_path.read_bytes()
        mount.key_path.unlink()
        await followed.has_looked()
        mount.key_path.write_bytes(kept)
        await followed.has_looked()
        assert followed.told == ["certificate_kept"]
    finally:
        followed.stop()


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
async def test_a_pair_that_cannot_be_read_is_an_error_at_start(mount: Mount, name: str) -> None:
    mount.renew()
    (mount.folder / name).unlink()
    with pytest.raises(OSError, match=name):
        Followed(mount).start(asyncio.get_running_loop())
