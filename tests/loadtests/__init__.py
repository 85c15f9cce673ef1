"""Tests of the load tests: their arithmetic, and that each benchmark still runs."""
