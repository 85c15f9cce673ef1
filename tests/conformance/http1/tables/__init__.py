"""The tables, by class: bytes and verdicts, nothing else."""

from tests.conformance.http1.cases import RequestCase, ResponseCase
from tests.conformance.http1.tables import (
    chunks,
    codings,
    fields,
    hosts,
    lengths,
    limits,
    pipelines,
    request_lines,
    response_bodies,
    response_framing,
    response_heads,
    switches,
    trailers,
)

__all__ = ["REQUESTS", "RESPONSES"]


REQUESTS: list[tuple[str, RequestCase]] = [
    (module.__name__.rpartition(".")[2], case)
    for module in (request_lines, hosts, fields, lengths, codings, chunks, trailers, pipelines, switches, limits)
    for case in module.REQUESTS
]
"""(class, row)."""

RESPONSES: list[tuple[str, ResponseCase]] = [
    (module.__name__.rpartition(".")[2], case)
    for module in (response_heads, response_framing, response_bodies)
    for case in module.RESPONSES
]
