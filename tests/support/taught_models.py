"""A small network with features in a store, models taught on it, and the scenes that they know."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from feature_graphs import CLASSES, SIDE, write_graph
from heads import facts_of, head_of
from incv3d.config.schema import Config, ModelSection, SessionSection
from incv3d.frames import Frame
from incv3d.models.entry import ModelEntry
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel
from incv3d.models.taught.head import Floats
from incv3d.models.taught.model import GoldenPicture, TaughtModel
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.loader import load_classifier
from tunable_models import scene

BASE = "tiny"
ENTRY = ModelEntry(
    input="pixels:0", output="scores:0", height=SIDE, width=SIDE, mean=128, scale=128, fit="stretch",
    interpolation="bilinear", outputs=CLASSES,
)  # fmt: skip


def add_base(state: Path, name: str = BASE) -> StoredModel:
    """Add the network to the store in `state`."""
    store = ModelStore(state)
    with store.adding(name, ENTRY) as folder:
        write_graph(folder / GRAPH)
        (folder / LABELS).write_text("".join(f"{number}\t\tclass {number}\n" for number in range(CLASSES)))
    return store.get(name)


def features_of(state: Path, pictures: Sequence[bytes], base: str = BASE) -> Floats:
    """Return what the base says of pictures before its last layer, one a row."""
    config = Config(model=ModelSection(name=base), session=SessionSection(engine="litert"))
    classifier = load_classifier(config, ModelStore(state), 0, lambda line: None).classifier
    found = []
    with contextlib.closing(classifier):
        for picture in pictures:
            now = time.monotonic()
            result = classifier.classify(classifier.prepare(Frame("x", picture, None, now, now)))
            assert result.features is not None
            found.append(result.features)
    return np.array(found)


def teach(
    state: Path,
    name: str,
    classes: Sequence[str],
    threshold: float = 0.0,
    base: str = BASE,
    is_golden: bool = True,
) -> TaughtModel:
    """Teach each class the picture of its number.

    :param is_golden: whether the first one becomes the golden picture.
    :param threshold: above 1, nothing is familiar.
    """
    pictures = [picture(number) for number in range(len(classes))]
    head = head_of(classes, features_of(state, pictures, base), threshold)
    if not is_golden:
        return TaughtStore(state).save(head, facts_of(name, head, ModelStore(state).get(base)), b"{}")
    golden = GoldenPicture(sha256=sha256(pictures[0]).hexdigest(), label=classes[0])
    facts = facts_of(name, head, ModelStore(state).get(base), golden=golden)
    return TaughtStore(state).save(head, facts, b"{}", pictures[0])


def picture(number: int) -> bytes:
    """Return the JPEG of a scene with colors of its own, for each number the same."""
    file = io.BytesIO()
    Image.fromarray(scene(number)).save(file, "JPEG", quality=92)
    return file.getvalue()
