"""One control plane for all statements, each of which has a namespace of its own."""

from tests.controller.eventing.conftest import eventing, plane, pytest_asyncio_loop_factories

__all__ = ["eventing", "plane", "pytest_asyncio_loop_factories"]
