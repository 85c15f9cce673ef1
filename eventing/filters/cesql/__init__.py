"""CESQL: expressions over the attributes of an event, parsed once per Trigger and compiled to functions.

    text --tokens--> tokens --parser--> nodes --compiler--> function of an event's attributes
                                                 values, functions

No text of a user is ever run as Python: the compiler puts together functions that stand here.

Source: CloudEvents SQL Expression Language 1.0; spec eventing-broker.md 8.6. The public test vectors hold it.
"""

from eventing.filters.cesql.compiler import Expression, compile_expression
from eventing.filters.cesql.values import ErrorKind, EvaluationError, ParseError

__all__ = ["ErrorKind", "EvaluationError", "Expression", "ParseError", "compile_expression"]
