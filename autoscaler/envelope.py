"""Around a PodAutoscaler's reconcile, whatever its class: conditions before; one status write, and events, after.

The status is written even when a step fails, since what was found out before is worth knowing, and the observed
generation counts up even then. A failure becomes an event on the PodAutoscaler, unless it will pass by itself (someone
else was faster, the API is away). Source: knative.dev/pkg `reconciler`; spec control-plane.md 2.2.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from kube.client import Client
from kube.conditions import Conditions, ConditionSet
from kube.errors import ApiError, Conflict, NotFound
from kube.events import WARNING
from kube.informer import Informer
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerStatus
from kube.models.meta import Condition, Resource

__all__ = ["CONDITIONS", "Envelope", "NotCreated", "NotOwned", "Report", "StepFailed"]

CONDITIONS = ConditionSet(dependents=("Active", "ScaleTargetInitialized", "SKSReady"))
Report: TypeAlias = Callable[[Resource, str, str, str], None]
"""(about, type, reason, message) of an event; `kube.events.EventRecorder.report`."""

_DEADLINE_S = 30.0


class StepFailed(Exception):
    """A step of a reconcile could not be done; the text is for the event. Retried with back-off."""

    inactive: tuple[str, str] | None = None
    """Reason and message of Active False, where the failure keeps the revision from being active."""


class NotOwned(StepFailed):
    """An object of the name that we need belongs to someone else."""

    def __init__(self, kind: str, name: str) -> None:
        message = f'There is an existing {kind} "{name}" that we do not own.'
        super().__init__(message)
        self.inactive = ("NotOwned", message)


class NotCreated(StepFailed):
    """An object without which nothing goes on could not be made."""

    def __init__(self, kind: str, name: str, error: ApiError) -> None:
        super().__init__(f'failed to create {kind} "{name}": {error}')
        self.inactive = ("FailedCreate", f'Failed to create {kind} "{name}".')


class Envelope:
    """Runs the steps of one reconcile; `report` takes events."""

    def __init__(self, client: Client, autoscalers: Informer[PodAutoscaler], report: Report) -> None:
        self._client = client
        self._autoscalers = autoscalers
        self._report = report

    async def run(
        self,
        autoscaler: PodAutoscaler,
        steps: Callable[[PodAutoscalerStatus, Conditions], Awaitable[float | None]],
    ) -> float | None:
        """Let `steps(status, conditions)` change working copies of both, then write them; returns what `steps` does.

        Raises what `steps` raises, and `TimeoutError` after the deadline of 30 s.
        """
        async with asyncio.timeout(_DEADLINE_S):
            return await self._run(autoscaler, steps)

    async def _run(
        self,
        autoscaler: PodAutoscaler,
        steps: Callable[[PodAutoscalerStatus, Conditions], Awaitable[float | None]],
    ) -> float | None:
        generation = autoscaler.metadata.generation
        status = msgspec.structs.replace(autoscaler.status, observed_generation=generation)
        conditions = CONDITIONS.manage(autoscaler.status.conditions, time.time())
        conditions.initialise()
        if autoscaler.status.observed_generation != generation:
            # Until the steps know better; and if they fail, for readers of the status.
            conditions.mark_unknown(
                CONDITIONS.happy, "NewObservedGenFailure", "unsuccessfully observed a new generation"
            )
        try:
            again_s = await steps(status, conditions)
        except (StepFailed, ApiError) as error:
            if isinstance(error, StepFailed) and error.inactive is not None:
                conditions.mark_false("Active", *error.inactive)
            await self._write_status(autoscaler, status, conditions)
            if not isinstance(error, Conflict):
                self._report(autoscaler, WARNING, "InternalError", str(error))
            raise
        await self._write_status(autoscaler, status, conditions)
        return again_s

    async def _write_status(
        self, autoscaler: PodAutoscaler, status: PodAutoscalerStatus, conditions: Conditions
    ) -> None:
        status.conditions = _settled(autoscaler.status.conditions, conditions.listed())
        if status == autoscaler.status:
            return
        try:
            self._autoscalers.apply_local(await self._client.patch_status(autoscaler, status))
        except NotFound:
            return  # gone meanwhile; the watch is about to say so
        except Conflict:
            raise
        except ApiError as error:
            message = f'Failed to update status for "{autoscaler.name}": {error}'
            self._report(autoscaler, WARNING, "UpdateFailed", message)
            raise


def _settled(before: list[Condition], after: list[Condition]) -> list[Condition]:
    """`after`, where a condition that ended up as it was keeps the time of its last real transition."""
    held = {condition.type: condition for condition in before}
    return [old if (old := held.get(new.type)) is not None and _same(old, new) else new for new in after]


def _same(old: Condition, new: Condition) -> bool:
    return (old.status, old.reason, old.message, old.severity) == (new.status, new.reason, new.message, new.severity)
