"""Tiny networks in a store, made in the test."""

from __future__ import annotations

from pathlib import Path

import graphs
from incv3d.models.entry import ModelEntry
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel

SIDE = 32
"""Pixels of the input's sides."""
ENTRY = ModelEntry(
    input="pixels:0", output="scores:0", height=SIDE, width=SIDE, mean=0, scale=32, fit="stretch",
    interpolation="bilinear", outputs=3,
)  # fmt: skip


def add_rgb(state: Path, graph: bytes = b"") -> StoredModel:
    """Add a network that names the strongest of three colors to the store in `state`, as `rgb`.

    :param graph: another network of the same form.
    """
    store = ModelStore(state)
    with store.adding("rgb", ENTRY) as folder:
        (folder / GRAPH).write_bytes(graph or graphs.strongest_channel(SIDE))
        (folder / LABELS).write_text("0\t\tred\n1\t\tgreen\n2\t\tblue\n")
    return store.get("rgb")
