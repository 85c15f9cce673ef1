"""Replays `sample_size`: how many pods are asked."""

from autoscaler.sampling import sample_size
from tests.golden.replay import Golden, same


def test_sample_size(golden: Golden) -> None:
    with golden("sample_size") as vectors:
        vectors.each("cases", check_case)


def check_case(row: list[int]) -> None:
    population, size = row
    same(sample_size(population), size, "size")
