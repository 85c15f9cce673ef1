"""Whether an object has what is wanted of it, whatever the API or others have filled in beside it. Pure."""

__all__ = ["covers"]


def covers(held: object, wanted: object) -> bool:
    """Whether `held` has all that `wanted` says: keys of mappings, and lists element by element."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(covers(held.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(held, list) and len(held) == len(wanted) and all(map(covers, held, wanted))
    return held == wanted
