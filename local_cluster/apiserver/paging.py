"""Lists in pages: every page of one list shows the same moment, whatever is written in between.

The first page keeps the selected object versions; tokens name that snapshot and a position. Snapshots are few and short
lived: beyond the bound, or after their time, a token is answered 410 and the client lists again.
Conformance: api-clients statement 22.
"""

import base64
import binascii
import itertools
from dataclasses import dataclass

import orjson

from local_cluster.apiserver.errors import bad_request, expired
from local_cluster.apiserver.versions import Stored

__all__ = ["Page", "Paging"]

SNAPSHOTS_MAX = 64
SNAPSHOT_AGE_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `continue_token` is empty on the last one; `remaining` counts what follows."""

    items: list[Stored]
    version: int
    continue_token: str = ""
    remaining: int = 0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    items: list[Stored]
    version: int
    collection_path: str
    expires_at_s: float


class Paging:
    """The snapshots of one server. Time is an argument, in seconds of any steady clock."""

    def __init__(self, *, snapshots_max: int = SNAPSHOTS_MAX, age_max_s: float = SNAPSHOT_AGE_MAX_S) -> None:
        self._snapshots_max = snapshots_max
        self._age_max_s = age_max_s
        self._snapshots: dict[int, _Snapshot] = {}
        self._numbers = itertools.count(1)

    def first(self, items: list[Stored], version: int, limit: int, path: str, now_s: float) -> Page:
        """The first page of `items`, all of them when `limit` is 0."""
        if not limit or len(items) <= limit:
            return Page(items, version)
        for old in [number for number, snapshot in self._snapshots.items() if snapshot.expires_at_s < now_s]:
            del self._snapshots[old]
        number = next(self._numbers)
        self._snapshots[number] = _Snapshot(items, version, path, now_s + self._age_max_s)
        if len(self._snapshots) > self._snapshots_max:
            del self._snapshots[next(iter(self._snapshots))]
        return self._page(number, 0, limit)

    def following(self, token: str, limit: int, path: str, now_s: float) -> Page:
        """The page that `token` names. Raises 400 for a token of another list and 410 for a forgotten one."""
        number, start = _decode(token)
        snapshot = self._snapshots.get(number)
        if snapshot is None or snapshot.expires_at_s < now_s:
            self._snapshots.pop(number, None)
            raise expired("The provided continue parameter is too old to display a consistent list result")
        if snapshot.collection_path != path or not 0 < start < len(snapshot.items):
            raise bad_request("continue key is not valid for this list")
        return self._page(number, start, limit)

    def _page(self, number: int, start: int, limit: int) -> Page:
        snapshot = self._snapshots[number]
        end = start + limit if limit else len(snapshot.items)
        if end >= len(snapshot.items):
            return Page(snapshot.items[start:], snapshot.version)
        token = base64.urlsafe_b64encode(orjson.dumps([number, end])).decode().rstrip("=")
        return Page(snapshot.items[start:end], snapshot.version, token, len(snapshot.items) - end)


def _decode(token: str) -> tuple[int, int]:
    try:
        number, start = orjson.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise bad_request("continue key is not valid: it cannot be decoded") from error
    if not isinstance(number, int) or not isinstance(start, int):
        raise bad_request("continue key is not valid: expected two numbers")
    return number, start
