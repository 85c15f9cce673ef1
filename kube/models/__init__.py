"""Typed resources, one module per API group. Decoding ignores fields that no service of ours reads."""
