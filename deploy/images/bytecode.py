"""Python files with their bytecode beside them, so that a read-only container compiles nothing at its start.

The bytecode is valid whatever the time stamps are (PEP 552, unchecked hash): all files of an image carry the same one.
The path in tracebacks is the one inside of the image.
"""

import importlib.util
import marshal
import sys

from deploy.images.tree import File, Node, Tree

__all__ = ["with_bytecode"]

_UNCHECKED_HASH = 1


def with_bytecode(tree: Tree) -> dict[str, Node]:
    """The tree, and for each `.py` file in it the `__pycache__` file that this interpreter would load.

    A file that does not compile stays alone: packages carry templates and syntax of other versions, and importing one
    of them fails with and without bytecode.
    """
    found: dict[str, Node] = dict(tree)
    for path, node in tree.items():
        if path.endswith(".py") and isinstance(node, File):
            code = _compiled(node.data, f"/{path}")
            if code is not None:
                folder, _, name = path.rpartition("/")
                cached = f"{name[:-3]}.{sys.implementation.cache_tag}.pyc"
                found[f"{folder}/__pycache__/{cached}".lstrip("/")] = File(code)
    return found


def _compiled(source: bytes, path: str) -> bytes | None:
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return None
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    return head + marshal.dumps(code)
