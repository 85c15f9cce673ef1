"""All tables, each case with the name of its table."""

from tests.conformance.apiserver.cases import Case
from tests.conformance.apiserver.tables import (
    applying,
    bad_input,
    custom,
    deletion,
    lists,
    pages,
    patches,
    selectors,
    watches,
    writes,
)

__all__ = ["CASES"]

_TABLES = (applying, bad_input, custom, deletion, lists, pages, patches, selectors, watches, writes)

CASES: list[tuple[str, Case]] = [(table.__name__.rpartition(".")[2], case) for table in _TABLES for case in table.CASES]
