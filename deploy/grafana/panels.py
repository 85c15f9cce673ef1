"""A dashboard as a list of titled panels, and its JSON as Grafana imports it.

Panels are laid out two in a row, in the order of the list. What the others are held against is dashed, so that no
picture depends on colours alone, and every legend is a table with the last and the greatest value.
Source: Grafana, dashboard JSON model, schema version 39.
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["Dashboard", "Panel", "Query", "Variable", "render"]

_WIDTH, _HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns."""
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and what its series are called."""

    expression: str
    legend: str
    is_limit: bool = False
    """Drawn dashed: what the others are held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture."""

    title: str
    description: str
    """What a reader learns from it, and what to do when it looks bad."""
    unit: str
    """Grafana's name of the unit: s, short, percentunit, reqps, bytes."""
    queries: tuple[Query, ...]
    is_stacked: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top: the values of a label."""

    name: str
    query: str
    is_many: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One page."""

    uid: str
    title: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]


def render(dashboard: Dashboard) -> dict[str, Any]:
    """What stands in the file."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["knuv"],
        "editable": True,
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "panels": [_panel(panel, number) for number, panel in enumerate(dashboard.panels)],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "includeAll": variable.is_many,
        "multi": variable.is_many,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"} if variable.is_many else {},
        "sort": 1,
    }


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    limits = [query.legend for query in panel.queries if query.is_limit]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": {"x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "color": {"mode": "palette-classic"},
                "custom": {
                    "lineWidth": 2,
                    "fillOpacity": 20 if panel.is_stacked else 0,
                    "showPoints": "never",
                    "stacking": {"mode": "normal" if panel.is_stacked else "none"},
                },
            },
            "overrides": [_dashed(legend) for legend in limits],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": each.expression,
                "legendFormat": each.legend,
            }
            for index, each in enumerate(panel.queries)
        ],
    }


def _dashed(legend: str) -> dict[str, Any]:
    # A legend with a label's value in it is known by its first word only.
    first = legend.split("{", 1)[0].strip()
    style = {"fill": "dash", "dash": [10, 10]}
    return {
        "matcher": {"id": "byRegexp", "options": f"^{first}.*"},
        "properties": [{"id": "custom.lineStyle", "value": style}],
    }
