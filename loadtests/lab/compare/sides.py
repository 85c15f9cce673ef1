"""What A and B are: `ours`, a reference proxy, or components of the stack swapped for other programs."""

import shlex
import shutil
from dataclasses import dataclass, field
from typing import Final

from loadtests.lab.compare.references import REFERENCES, version
from loadtests.lab.queue_proxy.subjects import LabError

__all__ = ["Side", "SideError", "parse_side"]

COMPONENTS: Final = (
    "queue-proxy",
    "activator",
    "autoscaler",
    "controller",
    "gateway",
    "broker-ingress",
    "broker-filter",
)


class SideError(ValueError):
    """A side that cannot be run; says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two."""

    label: str
    proxy: str = ""
    """A reference in the place of queue-proxy, one of `REFERENCES`."""
    network: str = "loopback"
    """Of the stack; both sides have the same."""
    version: str = ""
    """What the reference calls itself."""
    commands: dict[str, str] = field(default_factory=dict)
    """Program by component."""

    @property
    def is_ours(self) -> bool:
        """Nothing is swapped."""
        return not self.proxy and not self.commands


def parse_side(text: str, takes: tuple[str, ...]) -> Side:
    """Return the side that `text` names. Raises `SideError`.

    `takes`: what the scenario can run: `proxy`, `components`.
    """
    if text == "ours":
        return Side("ours")
    if text in REFERENCES:
        if "proxy" not in takes:
            raise SideError(f"{text}: this scenario compares stacks; give components, such as queue-proxy=COMMAND")
        try:
            return Side(text, proxy=text, version=version(text))
        except LabError as error:
            raise SideError(str(error)) from error
    commands: dict[str, str] = {}
    for part in text.split(","):
        component, has_command, command = part.partition("=")
        component = component.strip()
        if not has_command or component not in COMPONENTS:
            raise SideError(
                f"{part!r}: expected ours, {', '.join(REFERENCES)}, or COMPONENT=COMMAND with a component of "
                + ", ".join(COMPONENTS)
            )
        if component in commands:
            raise SideError(f"{component} is given twice")
        words = shlex.split(command)
        if not words or shutil.which(words[0]) is None:
            raise SideError(f"{component}={command}: there is no such program")
        commands[component] = command
    if "components" not in takes and set(commands) != {"queue-proxy"}:
        raise SideError(f"{text!r}: this scenario runs queue-proxy alone; give queue-proxy=COMMAND")
    return Side(text, commands=commands)
