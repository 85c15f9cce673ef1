"""From a Route's traffic block to Revisions with shares, per tag.

Pure: look-ups are passed in. The first problem is remembered and a later one replaces it only when it is a failure, so
that "still waiting" never hides "cannot work". Source: knative/serving `pkg/reconciler/route/traffic`; spec
control-plane.md 7.2; golden set `traffic`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from kube.models.serving import TrafficTarget

__all__ = ["ConfigurationView", "Problem", "RevisionView", "Target", "Traffic", "build"]


class RevisionView(Protocol):
    """What is asked of a Revision."""

    @property
    def name(self) -> str: ...
    @property
    def configuration(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def ready(self) -> bool | None: ...


class ConfigurationView(Protocol):
    """What is asked of a Configuration."""

    @property
    def name(self) -> str: ...
    @property
    def latest_ready(self) -> str: ...
    @property
    def is_failed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """Why traffic cannot be assigned. `is_failure` False: waiting may help."""

    reason: str
    """The condition's reason."""
    is_failure: bool
    error: str
    """The original's error text."""
    message: str
    """What the condition says."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Revision and its share in percent. `latest`: it is the Configuration's newest ready one."""

    revision: str
    configuration: str
    percent: int
    latest: bool
    tag: str
    protocol: str = "http1"


@dataclass(slots=True)
class Traffic:
    """The outcome. With a `problem` there are no targets."""

    groups: dict[str, list[Target]] = field(default_factory=dict)
    """Tag -> its Revisions; `""` is the Route's own host. Shares of a group sum to 100."""
    flattened: list[Target] = field(default_factory=list)
    """As the status shows it: in the order of the spec."""
    missing: list[tuple[str, str]] = field(default_factory=list)
    """(kind, name) of what was looked up in vain."""
    problem: Problem | None = None


def build(
    targets: Sequence[TrafficTarget],
    service: str,
    find_configuration: Callable[[str], ConfigurationView | None],
    find_revision: Callable[[str], RevisionView | None],
) -> Traffic:
    """Resolve `targets` of a Route that belongs to Service `service` (empty: to none)."""
    resolver = _Resolver(service, find_configuration, find_revision)
    for target in targets:
        resolver.add(target)
    return resolver.result()


class _Resolver:
    def __init__(
        self,
        service: str,
        find_configuration: Callable[[str], ConfigurationView | None],
        find_revision: Callable[[str], RevisionView | None],
    ) -> None:
        self._service = service
        self._find_configuration = find_configuration
        self._find_revision = find_revision
        self._traffic = Traffic()

    def add(self, target: TrafficTarget) -> None:
        found = self._named(target) if target.revision_name else self._latest(target)
        if isinstance(found, Problem):
            held = self._traffic.problem
            if held is None or found.is_failure:
                self._traffic.problem = found
            return
        _merge(self._traffic.flattened, found)
        for tag in {"", found.tag}:
            self._traffic.groups.setdefault(tag, []).append(found)

    def result(self) -> Traffic:
        traffic = self._traffic
        if traffic.problem is not None:
            return Traffic(missing=traffic.missing, problem=traffic.problem)
        traffic.groups = {tag: _consolidated(targets) for tag, targets in traffic.groups.items()}
        return traffic

    def _latest(self, target: TrafficTarget) -> Target | Problem:
        configuration = self._configuration(target.configuration_name)
        if isinstance(configuration, Problem):
            return configuration
        if not configuration.latest_ready:
            return _unready_configuration(configuration)
        revision = self._revision(configuration.latest_ready)
        if isinstance(revision, Problem):
            return revision
        if revision.ready is not True:
            return _unready_revision(revision)
        return self._target(target, revision, configuration.name, latest=True)

    def _named(self, target: TrafficTarget) -> Target | Problem:
        revision = self._revision(target.revision_name)
        if isinstance(revision, Problem):
            return revision
        if self._service and revision.service != self._service:
            return _not_owned(revision, self._service)
        if revision.ready is not True:
            return _unready_revision(revision)
        if revision.configuration:
            configuration = self._configuration(revision.configuration)
            if isinstance(configuration, Problem):
                return configuration
        return self._target(target, revision, revision.configuration, latest=False)

    def _target(self, target: TrafficTarget, revision: RevisionView, configuration: str, *, latest: bool) -> Target:
        return Target(revision.name, configuration, target.percent or 0, latest, target.tag, revision.protocol)

    def _configuration(self, name: str) -> ConfigurationView | Problem:
        found = self._find_configuration(name)
        if found is not None:
            return found
        self._traffic.missing.append(("Configuration", name))
        return _missing("Configuration", name)

    def _revision(self, name: str) -> RevisionView | Problem:
        found = self._find_revision(name)
        if found is not None:
            return found
        self._traffic.missing.append(("Revision", name))
        return _missing("Revision", name)


def _merge(flattened: list[Target], target: Target) -> None:
    """Targets that differ in their share only become one."""
    for index, held in enumerate(flattened):
        if (held.tag, held.revision, held.latest) == (target.tag, target.revision, target.latest):
            flattened[index] = replace(held, percent=held.percent + target.percent)
            return
    flattened.append(target)


def _consolidated(targets: list[Target]) -> list[Target]:
    """One entry per Revision; a lone one takes everything."""
    by_revision: dict[str, Target] = {}
    for target in targets:
        held = by_revision.get(target.revision)
        by_revision[target.revision] = target if held is None else replace(held, percent=held.percent + target.percent)
    if len(by_revision) == 1:
        return [replace(target, percent=100) for target in by_revision.values()]
    return list(by_revision.values())


def _missing(kind: str, name: str) -> Problem:
    text = f'{kind} "{name}" referenced in traffic not found'
    return Problem(f"{kind}Missing", True, text, f"{text}.")


def _unready_configuration(configuration: ConfigurationView) -> Problem:
    failed = configuration.is_failed
    name = configuration.name
    message = (
        f'Configuration "{name}" does not have any ready Revision.'
        if failed
        else f'Configuration "{name}" is waiting for a Revision to become ready.'
    )
    error = f'Configuration "{name}" not ready, isFailure={str(failed).lower()}'
    return Problem("RevisionMissing", failed, error, message)


def _unready_revision(revision: RevisionView) -> Problem:
    failed = revision.ready is False
    name = revision.name
    message = f'Revision "{name}" failed to become ready.' if failed else f'Revision "{name}" is not yet ready.'
    error = f'Revision "{name}" not ready, isFailure={str(failed).lower()}'
    return Problem("RevisionMissing", failed, error, message)


def _not_owned(revision: RevisionView, service: str) -> Problem:
    text = (
        f'Revision "{revision.name}" belongs to Service "{revision.service}", not Service "{service}"'
        if revision.service
        else f'Revision "{revision.name}" does not belong to Service "{service}"'
    )
    return Problem("RevisionNotOwned", True, text, text)
