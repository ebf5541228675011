"""How good taught models are, how honest their reports, and what teaching takes.

usage: python tests/performance/teaching.py SHARED [CACHE]

SHARED is the folder of large test data. EfficientNet-Lite0 must be in the state directory, converted to both
precisions: `incv3d model convert efficientnet-lite0 --to int8 --pictures SHARED/images`, and the same with
float32. Features are kept in CACHE, a temporary folder unless it is named.
"""

from __future__ import annotations

import itertools
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from incv3d.config.paths import state_directory
from incv3d.engines import open_session
from incv3d.images.preprocess import Preprocessor
from incv3d.models.conversions import PRECISIONS, Precision, open_conversion
from incv3d.models.store import ModelStore
from incv3d.models.taught.head import Head, normalize
from incv3d.pipeline.session_spec import input_spec
from incv3d.teaching.dataset import FoundFiles, ImageFile, find_files
from incv3d.teaching.estimate import split
from incv3d.teaching.examples import Example
from incv3d.teaching.feature_cache import FeatureCache, cache_key
from incv3d.teaching.features import collect
from incv3d.teaching.judging import share_refused
from incv3d.teaching.training import Trained, train
from measuring import table

MODEL = "efficientnet-lite0"
DRAWS = 20
SAME_TILE = 150
"""Numbers of a class that are closer are of one tile, which was photographed about six times in a row."""
Features = Callable[[FoundFiles, Literal["crop", "stretch"]], list[Example]]


def opened(precision: Precision, cache_folder: Path) -> Features:
    """What computes features in this precision, as teaching does."""
    store = ModelStore(state_directory(os.environ))
    model = store.get(MODEL)
    conversion = open_conversion(model, precision)
    session = open_session(conversion.session_spec(model, 1), None, lambda: None)

    def features(files: FoundFiles, fit: Literal["crop", "stretch"]) -> list[Example]:
        key = cache_key(model.manifest.sha256, precision, fit, model.entry.crop_fraction)
        preprocessor = Preprocessor(replace(input_spec(model.entry), fit=fit), 10**8)
        # A folder for each set: a cache forgets what is not asked for.
        folder = cache_folder / precision / files.files[0].label
        with FeatureCache(folder, key, session.facts.features) as cache:
            return list(
                collect(files, preprocessor, lambda feed: session.run_with_features(feed)[1], cache).examples
            )

    return features


def share_right(head: Head, examples: Sequence[Example]) -> float:
    """The share of pictures whose most probable class is theirs."""
    said = [head.classes[int(head.predict(each.features)[0].argmax())] for each in examples]
    return statistics.fmean(name == each.label for name, each in zip(said, examples, strict=True))


def drawn(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """So many pictures of each class, by chance."""
    order = np.random.default_rng(seed).permutation(len(examples))
    found = []
    for label in sorted({each.label for each in examples}):
        found += [examples[at] for at in order if examples[at].label == label][:count]
    return found


def ants_and_bees(taught: list[Example], new: list[Example], rows: list[tuple[str, str, str]]) -> None:
    """Accuracy on new pictures, and whether the report foresaw it."""
    for count, wanted in ((0, 0.950), (20, 0.935), (10, 0.925)):
        truths, inside = [], 0
        for seed in range(DRAWS):
            # There is one draw of all; nine tenths of them say how often the report is right.
            some = drawn(taught, count or round(len(taught) * 0.45), seed)
            trained = train(some)
            truths.append(share_right(trained.head, new))
            accuracy = trained.report.accuracy
            assert accuracy
            inside += accuracy.low <= truths[-1] <= accuracy.high
        if not count:
            truths = [share_right(train(taught).head, new)]
        rows.append(
            (f"ants, bees: {count or 'all'} a class", f"{statistics.median(truths):.3f}", f">= {wanted}")
        )
        rows.append(("- in the interval of its report", f"{inside} of {DRAWS} draws", ">= 18"))


def wrong_folder(taught: list[Example], rows: list[tuple[str, str, str]]) -> None:
    """How many of ten moved pictures are among the first twenty suspects."""
    other = {"ants": "bees", "bees": "ants"}
    shares = []
    for seed in range(DRAWS):
        some = drawn(taught, 100, seed)
        moved = {each.name for each in drawn(some, 5, seed + 100)}
        wrong = [replace(each, label=other[each.label]) if each.name in moved else each for each in some]
        named = {each.name for each in train(wrong).report.suspects[: 2 * len(moved)]}
        shares.append(len(named & moved) / len(moved))
    rows.append(("5 % in the wrong folder: named", f"{statistics.median(shares):.2f}", ">= 0.85"))


def tile_of(examples: Sequence[Example]) -> np.ndarray:
    """The tile of each picture, by its number."""
    numbers = [int(re.findall(r"\d+", each.name)[-1]) for each in examples]
    kinds = [each.name.split("/")[0] for each in examples]
    order = sorted(range(len(examples)), key=lambda at: (kinds[at], numbers[at]))
    tiles = np.zeros(len(examples), np.intp)
    for before, at in itertools.pairwise(order):
        is_same = kinds[at] == kinds[before] and numbers[at] - numbers[before] <= SAME_TILE
        tiles[at] = tiles[before] + (not is_same)
    return tiles


def tiles(examples: list[Example], rows: list[tuple[str, str, str]]) -> None:
    """The report's estimate beside heads that are taught without a fifth of the tiles, and tested on it."""
    report = train(examples).report
    accuracy = report.accuracy
    assert accuracy
    y = np.array([each.label != "free" for each in examples], np.intp)
    truths = []
    for seed in range(5):
        fold = split(y, tile_of(examples), seed)
        hits = 0.0
        for part in range(5):
            head = train([each for each, at in zip(examples, fold, strict=True) if at != part]).head
            tested = [each for each, at in zip(examples, fold, strict=True) if at == part]
            hits += share_right(head, tested) * len(tested)
        truths.append(hits / len(examples))
    truth = statistics.median(truths)
    rows.append((f"tiles, split by tile ({len(set(tile_of(examples)))} tiles)", f"{truth:.1%}", ""))
    rows.append(
        (
            f"- the report ({accuracy.groups} groups)",
            f"{accuracy.value:.1%}",
            f"within 3 points: {accuracy.value - truth:+.1%}",
        )
    )
    rows.append(("- always saying free", f"{report.guessing:.1%}", ""))


def strangers(trained: Trained, others: Sequence[Example], rows: list[tuple[str, str, str]]) -> None:
    """The share of photographs of other things that are unknown."""
    refused = share_refused(trained.head, normalize(np.array([each.features for each in others])))
    rows.append((f"{len(others)} strangers refused", f"{refused:.3f}", ">= 0.95"))
    rows.append(("- known pictures refused", f"{trained.report.known_refused:.3f}", "0.05"))


def cost(taught: list[Example], rows: list[tuple[str, str, str]]) -> None:
    """Processor time and memory of teaching 200 pictures whose features are there."""
    some = drawn(taught, 100, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    train(some)
    took_s = time.process_time() - started
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows.append((f"{len(some)} pictures: train and report, processor time", f"{took_s:.2f} s", "<= 3 s"))
    rows.append(("- more memory", f"{more:.0f} MB", "<= 60 MB"))


def renamed(found: FoundFiles) -> FoundFiles:
    """All classes of tiles but `free` as one."""
    return replace(
        found,
        files=tuple(each if each.label == "free" else replace(each, label="rest") for each in found.files),
    )


def main() -> None:
    shared = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        for precision in PRECISIONS:
            features = opened(precision, cache)
            rows: list[tuple[str, str, str]] = []
            taught = features(find_files(shared / "teach/ants-bees/train"), "crop")
            new = features(find_files(shared / "teach/ants-bees/val"), "crop")
            photographs = tuple(
                ImageFile(each, "stranger", each.name) for each in sorted((shared / "images").iterdir())
            )
            others = features(FoundFiles(photographs), "crop")
            cost(taught, rows)
            ants_and_bees(taught, new, rows)
            strangers(train(taught), others, rows)
            wrong_folder(taught, rows)
            tiles(features(renamed(find_files(shared / "teach/tiles")), "stretch"), rows)
            table(f"{MODEL}, {precision}", rows)


if __name__ == "__main__":
    main()
