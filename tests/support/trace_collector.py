"""A collector of traces: serve its `take` with `running_app`."""

from typing import Any

from tests.support.http import Call
from tests.support.otlp import ExportTraceServiceRequest, ExportTraceServiceResponse

__all__ = ["Collector"]


class Collector:
    """What a collector of traces has received."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []

    async def take(self, call: Call) -> None:
        body, _ = await call.body()
        self.bodies.append(body)
        self.paths.append(call.target)
        await call.respond(
            200, ExportTraceServiceResponse().SerializeToString(), "Content-Type: application/x-protobuf"
        )

    def spans(self) -> list[Any]:
        messages = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for message in messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
