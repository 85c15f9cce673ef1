"""Benchmarks of components, each with a rival or a budget in the same run: `python -m loadtests.lab NAME ARGUMENTS...`.

Every public module or package here is one benchmark and has `main(arguments: list[str]) -> int`, which returns the exit
code. What they share lies in `loadtests`, or in modules whose names begin with an underscore.
"""
