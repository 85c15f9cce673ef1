"""Header names of the data plane, and what a proxy does to heads on their way.

`HeadEdits` is declarative, so that it serves any HTTP version and so that a result may be kept: make one for each
distinct editing (per service, or per target) and use it again.

Source: spec queue-proxy.md 7, activator.md 7.2; RFC 9110 section 7.6.1.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from proxies import fields
from proxies.messages import RequestHead, ResponseHead

__all__ = ["DateLine", "Edits", "HeadEdits", "HostRule", "forwarded_value", "relayed_head", "unchunked_head"]

# Lower-case names, as `RequestHead.get` wants them.
USER_AGENT: Final = b"user-agent"
PROBE: Final = b"k-network-probe"
PROBE_HASH: Final = b"k-network-hash"
KUBELET_PROBE: Final = b"k-kubelet-probe"
PROXY_REQUEST: Final = b"k-proxy-request"
ORIGINAL_HOST: Final = b"k-original-host"
PASSTHROUGH_LB: Final = b"k-passthrough-lb"
REVISION: Final = b"knative-serving-revision"
NAMESPACE: Final = b"knative-serving-namespace"
TAG: Final = b"knative-serving-tag"
DEFAULT_ROUTE: Final = b"knative-serving-default-route"
FORWARDED: Final = b"forwarded"
FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_HOST: Final = b"x-forwarded-host"
FORWARDED_PROTO: Final = b"x-forwarded-proto"

KUBELET_AGENT: Final = b"kube-probe/"
ACTIVATOR_AGENT: Final = b"Knative-Activator-Probe"
AUTOSCALER_AGENT: Final = b"Knative-Autoscaling-Probe"
PROBE_AGENTS: Final = (KUBELET_AGENT, ACTIVATOR_AGENT, AUTOSCALER_AGENT)

HOP_BY_HOP: Final = frozenset(
    [
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)

_RENDERED_MAX: Final = 16
"""Edited forms kept per head: one for each peer, where all targets are edited by the same rules. Beyond it all are
dropped and made again."""
_RENDERED_BYTES_MAX: Final = 1024
"""Length of a form that is kept. With the bounds of the memo of heads: some 10 MiB at worst."""
_FORWARDED_MEMO_BYTES_MAX: Final = 256
"""A client may write 1 MiB of `X-Forwarded-For`, and another one each time."""


class HostRule(Enum):
    """What `HeadEdits` does with the client's `Host` besides replacing it."""

    KEEP = "keep"
    """Neither saved nor restored."""
    SAVE = "save"
    """Keep it in `K-Original-Host`, unless the request carries one that is not empty (activator)."""
    RESTORE = "restore"
    """Take it from `K-Original-Host` where that is not empty, and drop that header (queue-proxy)."""


class Edits(Protocol):
    """How a request's head is changed on its way upstream."""

    def apply(self, head: RequestHead, peer: bytes) -> bytes:
        """Return the edited head in HTTP/1.1, with its closing empty line. `peer`: the client's address."""

    def parts(self, head: RequestHead, peer: bytes) -> tuple[bytes, Sequence[bytes]]:
        """Return `apply` in two parts: the head, as many requests may have it; and lines to add, without their ends."""


class _Rules:
    """What edits have in common that differ in their host alone, as those of a revision's pods do."""

    __slots__ = (
        "add_forwarded",
        "drop",
        "edits_lines",
        "edits_only_knative",
        "host_rule",
        "own",
        "remove",
        "set",
        "set_lines",
    )

    def __init__(
        self,
        remove: frozenset[bytes],
        values: tuple[tuple[bytes, bytes], ...],
        host_rule: HostRule,
        add_forwarded: bool,
    ) -> None:
        self.remove = remove
        self.set = dict(values)
        self.host_rule = host_rule
        self.add_forwarded = add_forwarded
        self.own = remove | {name.lower() for name in self.set}
        self.drop = HOP_BY_HOP | self.own | {FORWARDED_FOR}
        self.edits_only_knative = all(fields.marks_of(name, b"") == fields.KNATIVE for name in self.own)
        self.edits_lines = any(name in fields.VOLATILE_NAMES for name in self.own)
        self.set_lines = [b"%s: %s" % item for item in values]


@lru_cache(maxsize=64)
def _rules(
    remove: frozenset[bytes],
    values: tuple[tuple[bytes, bytes], ...],
    host_rule: HostRule,
    add_forwarded: bool,
    has_host: bool,
) -> _Rules:
    """Return the same object for the same rules: heads keep their edited forms by it."""
    return _Rules(remove, values, host_rule, add_forwarded)


class HeadEdits:
    """How request heads are changed on their way upstream, besides what every proxy does.

    Every proxy drops hop-by-hop headers (putting `TE: trailers`, an asked-for upgrade and chunked framing back) and
    appends the peer to `X-Forwarded-For`. Keep and reuse the object; those that differ in `host` alone share the forms
    of a head.
    """

    __slots__ = ("_rules", "host")

    def __init__(
        self,
        *,
        remove: Collection[bytes] = (),
        set: Mapping[bytes, bytes] | None = None,
        host: bytes = b"",
        host_rule: HostRule = HostRule.KEEP,
        add_forwarded: bool = False,
    ) -> None:
        """`remove`: names, `host` not among them. `set`: name as it shall be written -> value, replacing its lines.

        `host`: what `Host` becomes; empty: as received. `host_rule`: see there. `add_forwarded`: make `Forwarded` from
        `X-Forwarded-*` where it is absent or empty (spec queue-proxy.md 7.1).
        """
        names = frozenset(name.lower() for name in remove)
        self._rules = _rules(names, tuple((set or {}).items()), host_rule, add_forwarded, bool(host))
        self.host = host

    @property
    def own(self) -> frozenset[bytes]:
        """Names, in lower case, whose lines are removed or replaced."""
        return self._rules.own

    def without(self, *names: bytes) -> "HeadEdits":
        """Return these edits, which remove `names` as well."""
        rules = self._rules
        return HeadEdits(
            remove=rules.remove.union(names),
            set=rules.set,
            host=self.host,
            host_rule=rules.host_rule,
            add_forwarded=rules.add_forwarded,
        )

    def apply(self, head: RequestHead, peer: bytes) -> bytes:
        """Return the edited head in HTTP/1.1, with its closing empty line. `peer`: the client's address."""
        rules = self._rules
        lines = head.lines
        if lines:
            if rules.edits_lines:
                return self.render(head, peer)
            assert head.core is not None
            return b"%s%s\r\n\r\n" % (self.apply(head.core, peer)[:-2], b"\r\n".join(lines))
        kept = head.derived.rendered
        form = kept.get((rules, peer))
        if form is None:
            form = self._form(head, peer)
            if len(kept) >= _RENDERED_MAX:
                kept.clear()
            if len(form[0]) + len(form[1] or b"") <= _RENDERED_BYTES_MAX:
                kept[rules, peer] = form
        before, after = form
        return before if after is None else before + self.host + after

    def _form(self, head: RequestHead, peer: bytes) -> tuple[bytes, bytes | None]:
        """Return what is before the host and what is behind it; None: there is no other host than these edits' own."""
        rules = self._rules
        by_marks = rules.edits_only_knative and not head.connection_options and head.marks & _ORDINARY == fields.HOST
        rendered = self._render_by_marks(head, peer) if by_marks else self.render(head, peer)
        before, line, after = rendered.partition(b"\r\nHost: %s\r\n" % self.host) if self.host else (rendered, b"", b"")
        return (before + b"\r\nHost: ", b"\r\n" + after) if line else (rendered, None)

    def parts(self, head: RequestHead, peer: bytes) -> tuple[bytes, Sequence[bytes]]:
        """Return `apply` in two parts: the head, as many requests may have it; and lines to add, without their ends."""
        core = head.core
        if core is None or self._rules.edits_lines:
            return self.apply(head, peer), ()
        return self.apply(core, peer), head.lines

    def render(self, head: RequestHead, peer: bytes) -> bytes:
        """`apply` without its shortcuts."""
        original_host = head.get(ORIGINAL_HOST)
        drop = self._rules.drop | head.connection_options
        host, added = self._host(head.host, original_host)
        if added or (self._rules.host_rule is HostRule.RESTORE):
            drop = drop | {ORIGINAL_HOST}
        forwarded = self._forwarded(head)
        if forwarded:
            drop = drop | {FORWARDED}
        lines = [b"%s %s HTTP/1.1" % (head.method, head.target)]
        for field in head.fields:
            if field.name == b"host" and host:
                lines.append(b"Host: " + host)
            elif field.name not in drop:
                lines.append(field.line)
        hops = [] if FORWARDED_FOR in head.connection_options else head.get_all(FORWARDED_FOR)
        return self._close(head, lines, added, forwarded, hops, peer)

    def _render_by_marks(self, head: RequestHead, peer: bytes) -> bytes:
        """`render` where every line to be edited bears a mark: the others are taken without a look at their names."""
        drop = self._rules.own
        host, added = self.host, b""
        if head.marks & fields.KNATIVE or self._rules.host_rule is HostRule.SAVE:
            host, added = self._host(head.host, head.get(ORIGINAL_HOST))
            if added or self._rules.host_rule is HostRule.RESTORE:
                drop = drop | {ORIGINAL_HOST}
        lines = [b"%s %s HTTP/1.1" % (head.method, head.target)]
        hops: list[bytes] = []
        forwarded_host: bytes | None = None
        forwarded_proto: bytes | None = None
        for field in head.fields:
            mark = field.marks & _EDITED
            if not mark:
                lines.append(field.line)
            elif mark & fields.HOST:
                lines.append(b"Host: " + host if host else field.line)
            elif mark & fields.FORWARDED_FOR:
                hops.append(field.value)
            elif mark & fields.FORWARDED_MORE:
                lines.append(field.line)
                if field.name == FORWARDED_PROTO:
                    forwarded_proto = field.value if forwarded_proto is None else forwarded_proto
                else:
                    forwarded_host = field.value if forwarded_host is None else forwarded_host
            elif mark & fields.KNATIVE and field.name not in drop:
                lines.append(field.line)
        forwarded = b""
        if self._rules.add_forwarded and (hops or forwarded_host or forwarded_proto):
            forwarded = forwarded_value(hops[0] if hops else b"", forwarded_host or b"", forwarded_proto or b"")
        return self._close(head, lines, added, forwarded, hops, peer)

    def _host(self, host: bytes, original_host: bytes) -> tuple[bytes, bytes]:
        """Return (what `Host` becomes or empty, the line that saves it or empty)."""
        if self._rules.host_rule is HostRule.RESTORE:
            return self.host or original_host, b""
        if self._rules.host_rule is HostRule.SAVE and host and not original_host:
            return self.host, b"K-Original-Host: " + host
        return self.host, b""

    def _forwarded(self, head: RequestHead) -> bytes:
        if not self._rules.add_forwarded or head.get(FORWARDED):
            return b""
        return forwarded_value(head.get(FORWARDED_FOR), head.get(FORWARDED_HOST), head.get(FORWARDED_PROTO))

    def _close(
        self, head: RequestHead, lines: list[bytes], added: bytes, forwarded: bytes, hops: list[bytes], peer: bytes
    ) -> bytes:
        """Append what is added, and join."""
        if added:
            lines.append(added)
        lines.extend(self._rules.set_lines)
        if forwarded:
            lines.append(b"Forwarded: " + forwarded)
        if peer:
            hops.append(peer)
        if hops:
            lines.append(b"X-Forwarded-For: " + b", ".join(hops))
        if head.is_chunked:
            lines.append(b"Transfer-Encoding: chunked")
        if head.marks & fields.TE and any(_has_token(value, b"trailers") for value in head.get_all(b"te")):
            lines.append(b"TE: trailers")
        if head.upgrade:
            lines.append(b"Connection: Upgrade\r\nUpgrade: " + head.upgrade)
        lines.append(b"\r\n")
        return b"\r\n".join(lines)


_EDITED: Final = fields.DROPPED | fields.HOST | fields.KNATIVE | fields.FORWARDED_FOR | fields.FORWARDED_MORE
_ORDINARY: Final = fields.HOST | fields.FORWARDED
"""A head with a host and without `Forwarded` can be edited by marks alone."""


def relayed_head(head: ResponseHead) -> bytes:
    """Return a response's head as it is relayed: hop-by-hop headers gone, the framing left as it is.

    The connection appends `Date` where it is missing, `Connection` where it ends, and the empty line.
    """
    if not head.rendered:
        head.rendered = _render_response(head, _RESPONSE_DROP)
    return head.rendered


def unchunked_head(head: ResponseHead) -> bytes:
    """Return `relayed_head` for a client that does not know chunks: the body ends with the connection."""
    return _render_response(head, HOP_BY_HOP)


def _render_response(head: ResponseHead, drop: frozenset[bytes]) -> bytes:
    if head.connection_options:
        drop = drop | head.connection_options
    if head.status == 204 or head.status < 200:
        drop = drop | {b"content-length", b"transfer-encoding"}
    lines = [b"HTTP/1.1 %d %s" % (head.status, head.reason)]
    lines.extend(field.line for field in head.fields if field.name not in drop)
    if head.status == 101:
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + head.upgrade)
    lines.append(b"")
    return b"\r\n".join(lines)


# The body is spliced, so the headers that frame and announce it stay with it.
_RESPONSE_DROP: Final = HOP_BY_HOP - {b"transfer-encoding", b"trailer"}


def forwarded_value(forwarded_for: bytes, host: bytes, proto: bytes) -> bytes:
    """Return the value of `Forwarded` for the values of `X-Forwarded-*`; empty when there are none.

    Quirks included (spec queue-proxy.md 7.1): an empty first node gives `for=` with no `;` behind it, and a trailing
    empty node is left out.
    """
    is_short = len(forwarded_for) + len(host) + len(proto) <= _FORWARDED_MEMO_BYTES_MAX
    return (_forwarded_memo if is_short else _forwarded_value)(forwarded_for, host, proto)


def _forwarded_value(forwarded_for: bytes, host: bytes, proto: bytes) -> bytes:
    if not (forwarded_for or host or proto):
        return b""
    nodes = [_forwarded_node(node.strip()) for node in forwarded_for.split(b",")] if forwarded_for else []
    if len(nodes) > 1 and not nodes[-1]:
        nodes.pop()
    pairs = [nodes[0]] if nodes and nodes[0] else []
    if host:
        pairs.append(b"host=" + host)
    if proto:
        pairs.append(b"proto=" + proto)
    first = (b"for=" if nodes else b"") + b";".join(pairs)
    return b", for=".join([first, *nodes[1:]])


_forwarded_memo: Final = lru_cache(maxsize=512)(_forwarded_value)


def _forwarded_node(node: bytes) -> bytes:
    return b'"[' + node + b']"' if b":" in node else node


def _has_token(value: bytes, token: bytes) -> bool:
    return any(part.strip().lower() == token for part in value.split(b","))


class DateLine:
    """The `Date` of our answers, made once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def at(self, now_unix_s: float) -> bytes:
        """Return the line with its end, for a time in Unix seconds."""
        second = int(now_unix_s)
        if second != self._second:
            self._second = second
            t = time.gmtime(second)
            date = f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
            self._line = f"Date: {date} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT\r\n".encode()
        return self._line


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
