"""The Huffman code of HPACK: decoding only, for what we send is not worth compressing on a local network.

The code is canonical: its code words follow from their lengths. Decoding goes byte by byte through the code's tree;
what a byte does in a node is kept, so that text, which uses few of the 65,536 combinations, costs a look-up a byte.

Source: RFC 7541 section 5.2 and appendix B.
"""

from typing import Final

from proxies.http2.errors import CompressionFault

__all__ = ["decode"]

# Lengths of the code words in bits, for the symbols 0 to 255 and the end of the string: a letter each, a is 1, ~ is 30.
_LENGTHS: Final = tuple(
    letter - 96
    for letter in (
        b"mw|||||||x~||~||||||||~|||||||||fjjlmfhkjjhkhfffeeefffffffghoflj"
        b"mfgggggggggggggggggggggghghmsmnfoefefefffeggfffefgfeefgggggoknm|"
        b"tvttvvvwvwwwwwxwxxvwxwwwwuvwvwwxvutvvwwuwvvxuvwwuuvuwvwwtvvvwvvw"
        b"zztsvwvyzzz{{zxysuz{{z{xuuzz|{{{txtuvuuwvvyyxxzwz{zz{{{{{|{{{{{z"
        b"~"
    )
)
_END: Final = 256
_STEPS_MAX: Final = 8192
"""Steps kept: some 1 MiB at worst. English text and identifiers use a few hundred."""


def _tree() -> list[int]:
    """Return the children of all nodes, two each: the number of a node, or for a leaf its symbol inverted (`~`)."""
    tree = [0, 0]
    code = length = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        node = 0
        for shift in range(length - 1, 0, -1):
            branch = 2 * node + (code >> shift & 1)
            if not tree[branch]:
                tree[branch] = len(tree) // 2
                tree += (0, 0)
            node = tree[branch]
        tree[2 * node + (code & 1)] = ~symbol
        code += 1
    return tree


_TREE: Final = _tree()


def _padded_nodes() -> frozenset[int]:
    """Return the nodes in which a string may end, shifted: fewer than 8 bits are left, all ones (RFC 7541 5.2)."""
    nodes = [0]
    while len(nodes) < 8:
        nodes.append(_TREE[2 * nodes[-1] + 1])
    return frozenset(node << 8 for node in nodes)


_PADDED: Final = _padded_nodes()


class _Steps(dict[int, tuple[int, bytes]]):
    """By node * 256 + byte: the node that the byte leads to, times 256, and the symbols passed on the way."""

    def __missing__(self, key: int) -> tuple[int, bytes]:
        node = key >> 8
        symbols = bytearray()
        for shift in range(7, -1, -1):
            node = _TREE[2 * node + (key >> shift & 1)]
            if node < 0:
                if ~node == _END:
                    raise CompressionFault("expected no end-of-string symbol within a Huffman string")
                symbols.append(~node)
                node = 0
        if len(self) >= _STEPS_MAX:
            self.clear()
        step = self[key] = (node << 8, bytes(symbols))
        return step


_steps: Final = _Steps()


def decode(data: bytes) -> bytes:
    """Return the string that `data` encodes. Raises `CompressionFault` for bad padding or an end-of-string symbol."""
    steps = _steps
    node = 0
    parts = []
    for byte in data:
        node, symbols = steps[node | byte]
        parts.append(symbols)
    if node not in _PADDED:
        raise CompressionFault("expected a Huffman string padded with fewer than 8 ones")
    return b"".join(parts)
