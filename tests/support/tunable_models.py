"""A network that can be converted to int8 in a moment, in a store, and films that it classifies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from flatbuffers_by_hand import CLASSES, Network, classifier
from incv3d.engines.base import ImageArray
from incv3d.models.conversions import DESCRIPTION, Comparison, EngineMeasurements, describe, folder_name
from incv3d.models.entry import ModelEntry
from incv3d.models.store import FLATBUFFER, GRAPH, LABELS, ModelStore

SIDE = 32
ENTRY = ModelEntry(
    input="pixels:0", output="scores:0", height=SIDE, width=SIDE, mean=128, scale=128, fit="stretch",
    interpolation="bilinear", outputs=CLASSES,
)  # fmt: skip
FIGURES = EngineMeasurements(engine="x", run_ms=1, peak_memory_mb=1, size_bytes=1, distinct_scores=1)
COMPARISON = Comparison(
    images=10, top1_agreement=1, top5_agreement=1, largest_difference=0, median_difference=0, threads=1,
    session=FIGURES, conversion=FIGURES,
)  # fmt: skip


def add_tunable(
    state: Path, name: str = "tunable", network: Callable[[int], Network] = classifier
) -> ModelStore:
    """Add a random network to the store in `state`, with its float32 conversion, which LiteRT runs.

    :param network: makes that conversion, from the side of its input.
    """
    store = ModelStore(state)
    with store.adding(name, ENTRY) as folder:
        (folder / GRAPH).write_bytes(b"only the conversions are used")
        (folder / LABELS).write_text("".join(f"{number}\t\tclass {number}\n" for number in range(CLASSES)))
    model = store.get(name)
    floats = model.directory / folder_name("float32")
    floats.mkdir()
    path = network(SIDE).write(floats / FLATBUFFER)
    facts = describe(model, "float32", path, "by hand", 0, COMPARISON, None)
    (floats / DESCRIPTION).write_bytes(msgspec.json.encode(facts))
    return store


def scene(number: int, width: int = 64, height: int = 48) -> ImageArray:
    """An image of its own colors and edges, for each number the same."""
    random = np.random.default_rng(number)
    small = random.integers(30, 226, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


def film(folder: Path, scenes: int) -> Path:
    """Write a folder of distinct JPEGs."""
    folder.mkdir()
    for number in range(scenes):
        Image.fromarray(scene(number)).save(folder / f"{number:04}.jpg", quality=92)
    return folder
