"""`docs/metrics-reference.md` says what the code registers."""

from tests.docs.metrics_reference import PAGE, render


def test_the_page_is_what_the_code_registers() -> None:
    assert PAGE.read_text() == render(), "docs/metrics-reference.md is behind the code: run `make docs`"


def test_every_metric_says_what_it_is() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| `")]

    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []
