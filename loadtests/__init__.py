"""Load tests and benchmarks: what is measured, against what, and how to repeat it."""
