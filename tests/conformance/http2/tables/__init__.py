"""All rows, each with the name of its table."""

from tests.conformance.http2.cases import Case
from tests.conformance.http2.tables import (
    compression,
    continuations,
    control,
    data_headers,
    frames,
    prefaces,
    requests,
    responses,
    settings,
    states,
    trailers,
    windows,
)

__all__ = ["REQUESTS", "RESPONSES"]

REQUESTS: list[tuple[str, Case]] = [
    (module.__name__.rpartition(".")[2], case)
    for module in (
        prefaces,
        frames,
        states,
        data_headers,
        settings,
        control,
        continuations,
        windows,
        requests,
        trailers,
        compression,
    )
    for case in module.REQUESTS
]
"""What a client sends."""

RESPONSES: list[tuple[str, Case]] = [("responses", case) for case in responses.RESPONSES]
"""What a server sends."""
