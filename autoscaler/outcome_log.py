"""What an operator reads of decisions: one line when a panic begins or ends, one when the desired scale changes."""

from autoscaler.failures import Failures
from autoscaler.multiscaler import UNKNOWN_SCALE, Outcome
from proxies.logs import Logger

__all__ = ["OutcomeLog"]


class OutcomeLog:
    """Tells outcomes. A line that cannot be made is a bug of ours, told to `failures`, and keeps nobody waiting."""

    def __init__(self, log: Logger, failures: Failures) -> None:
        self._log = log
        self._failures = failures

    def tell(self, outcome: Outcome) -> None:
        """Write what there is to say."""
        try:
            if outcome.panic_became is not None:
                self._tell_panic(outcome)
            if outcome.is_worth_telling:
                self._tell_change(outcome)
        except Exception as error:  # noqa: BLE001 - see the class
            self._failures.note(outcome.revision.key, error)

    def _tell_panic(self, outcome: Outcome) -> None:
        namespace, revision = outcome.revision.key
        spec = outcome.revision.decider.spec
        self._log.info(
            "panic_began" if outcome.panic_became else "panic_ended",
            namespace=namespace,
            revision=revision,
            stable=outcome.decision.stable,
            panic=outcome.decision.panic,
            target=spec.target_value,
            threshold=spec.panic_threshold,
            desired=outcome.decision.desired,
        )

    def _tell_change(self, outcome: Outcome) -> None:
        """Say what the scale was and is, and why; nothing for a restart that finds all in order."""
        change = outcome.revision.decisions.latest_change()
        if change is None or (change.before == UNKNOWN_SCALE and change.entry.desired == change.entry.ready):
            return
        namespace, revision = outcome.revision.key
        self._log.info(
            "desired_changed",
            namespace=namespace,
            revision=revision,
            **{"from": change.before, "to": change.entry.desired},
            why=change.why,
            ready=change.entry.ready,
        )
