"""How users are told what is wrong."""

from controller.field_errors import FieldError, render


def test_errors_that_say_the_same_become_one() -> None:
    errors = [
        FieldError("b", ("y",)),
        FieldError("a", ("z",), "why"),
        FieldError("b", ("x",)),
    ]
    assert render(errors) == "a: z\nwhy\nb: x, y"
