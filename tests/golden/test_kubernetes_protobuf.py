"""Request bodies of Go's typed clients, decoded to the JSON that they stand for."""

from typing import Any

from local_cluster.apiserver.protobuf import decode_envelope
from tests.golden.replay import Golden, same


def test_kubernetes_protobuf(golden: Golden) -> None:
    with golden("kubernetes_protobuf") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    same(pruned(decode_envelope(bytes.fromhex(case["input"]["hex"]))), pruned(case["expect"]["json"]), "object")


def pruned(value: Any) -> Any:
    """Without null, empty objects and empty lists, as the set's comparison asks."""
    if isinstance(value, dict):
        kept = {key: pruned(member) for key, member in value.items()}
        return {key: member for key, member in kept.items() if member not in (None, {}, [])}
    return [pruned(item) for item in value] if isinstance(value, list) else value
