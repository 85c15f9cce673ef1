"""Reading the texts of a ConfigMap: numbers, switches, templates, with the original's messages when they are wrong.

Source: `knative.dev/pkg/configmap/parse.go`; spec control-plane.md 11.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml

from controller.quantities import parse_quantity
from controller.templates import Template, TemplateError
from kube.autoscaling.config import InvalidConfig
from proxies import gotext

__all__ = ["RESOURCES", "Data", "Reader", "commas", "parse_yaml", "selects"]

T = TypeVar("T")
Data = Mapping[str, str]

RESOURCES = ("cpu", "memory", "ephemeral-storage")


class Reader:
    """Values of a map by key; `InvalidConfig` names the key and what is wrong.

    A key with aliases: the key itself wins, then its aliases in the order given.
    """

    def __init__(self, data: Mapping[str, str]) -> None:
        self._data = data

    def text(self, key: str, default: str, *aliases: str) -> str:
        """The text as it is."""
        return next((self._data[name] for name in (key, *aliases) if name in self._data), default)

    def integer(self, key: str, default: int, *aliases: str) -> int:
        """A whole number of 64 bits."""
        return self._parsed(key, gotext.parse_int, default, _explain_int, aliases)

    def number(self, key: str, default: float) -> float:
        """A number."""
        return self._parsed(key, gotext.parse_float, default, _explain("ParseFloat"), ())

    def boolean(self, key: str, default: bool, *aliases: str) -> bool:
        """A Go boolean."""
        return self._parsed(key, gotext.parse_bool, default, _explain("ParseBool"), aliases)

    def duration_s(self, key: str, default: float, *aliases: str) -> float:
        """A Go duration in seconds."""
        return self._parsed(key, gotext.parse_duration_s, default, lambda t: f'time: invalid duration "{t}"', aliases)

    def unless_disabled(self, key: str, parse: Callable[[str, Any], T], default: T) -> T | None:
        """What `parse(key, default)` reads, or None when the text is `disabled` in any case."""
        return None if self._data.get(key, "").lower() == "disabled" else parse(key, default)

    def switch(self, key: str) -> bool:
        """`enabled` or `disabled`, in any case; anything else is refused."""
        text = self._data.get(key, "disabled").lower()
        if text not in ("enabled", "disabled"):
            raise InvalidConfig(f'failed to parse "{key}": expected enabled or disabled, got "{text}"')
        return text == "enabled"

    def quantities(self, keys: Mapping[str, str], aliases: Mapping[str, str] | None = None) -> dict[str, str]:
        """Resource -> quantity for the `keys` (by resource) that are set."""
        found = {}
        for resource, key in keys.items():
            text = self.text(key, "", *([aliases[resource]] if aliases else []))
            if not text:
                continue
            try:
                parse_quantity(text)
            except ValueError as error:
                raise InvalidConfig(f'failed to parse "{key}": {error}') from error
            found[resource] = text
        return found

    def template(self, key: str, default: str, sample: Mapping[str, Any], *aliases: str) -> Template:
        """A template that can be rendered with data like `sample`."""
        try:
            template = Template(self.text(key, default, *aliases))
            template.render(sample)
        except TemplateError as error:
            raise InvalidConfig(f'failed to parse "{key}": {error}') from error
        return template

    def _parsed(
        self, key: str, parse: Callable[[str], T], default: T, explain: Callable[[str], str], aliases: tuple[str, ...]
    ) -> T:
        for name in (key, *aliases):
            if name in self._data:
                text = self._data[name]
                try:
                    return parse(text)
                except ValueError as error:
                    raise InvalidConfig(f'failed to parse "{name}": {explain(text)}') from error
        return default


def commas(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_yaml(text: str, key: str) -> dict[str, Any]:
    """A YAML mapping; empty text is an empty one."""
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{key}: not YAML: {error}") from error
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise InvalidConfig(f"{key}: expected a mapping, got {text!r}")
    return parsed


def _explain(function: str) -> Callable[[str], str]:
    return lambda text: f'strconv.{function}: parsing "{text}": invalid syntax'


def _explain_int(text: str) -> str:
    problem = "value out of range" if re.fullmatch(r"[+-]?[0-9]+", text) else "invalid syntax"
    return f'strconv.ParseInt: parsing "{text}": {problem}'


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `labels` have all that is asked for."""
    return all(labels.get(key) == value for key, value in selector.items())
