"""Check that a network has only operations that compute.

A graph is a program. TensorFlow has operations that write files, open connections and call Python, and runs
them for any graph. A network with such an operation is rejected before any of it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from importlib import resources
from pathlib import Path

from incv3d.models.entry import ModelError
from incv3d.models.graph.graphdef_reader import Node, read_functions, read_nodes

SAVING = frozenset(
    {
        "DisableCopyOnRead",
        "MergeV2Checkpoints",
        "Restore",
        "RestoreSlice",
        "RestoreV2",
        "Save",
        "SaveSlices",
        "SaveV2",
        "ShardedFilename",
        "ShardedFilespec",
    }
)
"""Operations that TensorFlow adds to save and restore variables; freezing removes them."""


@cache
def harmless_operations() -> frozenset[str]:
    """Return the names of the operations that only compute."""
    text = resources.files("incv3d.models").joinpath("data/operations.txt").read_text("utf-8")
    return frozenset(" ".join(line for line in text.splitlines() if not line.startswith("#")).split())


def check_graph_file(file: Path, path: Path, also: Collection[str] = ()) -> None:
    """Raise ModelError unless all operations of the GraphDef at `path` and of its functions only compute.

    :param file: the user's own file, for the error message.
    :param also: other allowed operations.
    """
    functions = read_functions(path)
    check_operations(file, read_nodes(path), functions, also)


def check_operations(
    file: Path | str,
    nodes: Iterable[Node],
    functions: dict[str, list[Node]],
    also: Collection[str] = (),
) -> None:
    """Raise ModelError unless every operation only computes.

    :param functions: the graph's own functions, by name, which may be called.
    :param also: other allowed operations.
    """
    allowed = harmless_operations()
    for function, body in (("", nodes), *functions.items()):
        for node in body:
            if node.op not in allowed and node.op not in functions and node.op not in also:
                where = f"`{node.name}`" + (f" in its function `{function}`" if function else "")
                raise ModelError(
                    f"{file}: rejected: it has the operation {node.op or 'without a name'} ({where}), which "
                    f"may reach beyond the network, to files, connections or programs"
                )
