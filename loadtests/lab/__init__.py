"""Benchmarks of components, each with a rival in the same run."""
