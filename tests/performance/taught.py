"""What a taught head adds to a frame: the same Session with and without, in turns.

usage: .venv/bin/python tests/performance/taught.py [MODEL] [ROUNDS]

In each round a frame is classified by the base's labels and by heads with galleries of 100 and 1000 pictures,
in an order that changes. Times are medians; that of the processor is of the thread that classifies.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from itertools import cycle, islice

import numpy as np

from incv3d.config.paths import state_directory
from incv3d.config.schema import Config, ModelSection, SessionSection
from incv3d.frames import Frame
from incv3d.models.taught.head import Head, normalize
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.loader import load_classifier, open_store
from incv3d.pipeline.variants import Variant, Variants, number_heads
from measuring import WARMUP_RUNS, jpegs

CLASSES = 5
GALLERIES = (100, 1000)


def with_gallery(classifier: Classifier, pictures: int) -> Variants:
    """A head of random weights and a gallery of random pictures."""
    chance, length = np.random.default_rng(0), classifier.session.facts.features
    gallery = normalize(np.abs(chance.normal(0, 1, (pictures, length))).astype(np.float32))
    weights = chance.normal(0, 1, (length, CLASSES)).astype(np.float32)
    names = tuple(f"class {number}" for number in range(CLASSES))
    head = Head(names, gallery.mean(0), weights, np.zeros(CLASSES, np.float32), gallery, 0.5, 0.02)
    labels, (numbered,) = number_heads([head], None)
    return Variants(Variant(classifier.preprocessor, numbered, "taught"), labels)


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "efficientnet-lite0"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    config = Config(model=ModelSection(name=name), session=SessionSection(threads=1))
    store = open_store(config, state_directory(os.environ))
    loaded = load_classifier(config, store, WARMUP_RUNS, lambda line: None)
    classifier = loaded.classifier
    ways = {"the base": classifier.variants}
    ways |= {f"a head, {number} pictures": with_gallery(classifier, number) for number in GALLERIES}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for picture in islice(cycle(jpegs()), rounds):
        for way in random.sample(list(ways), len(ways)):
            classifier.variants = ways[way]
            now = time.monotonic()
            prepared = classifier.prepare(Frame("x", picture, None, now, now))
            began = time.thread_time()
            run_ms = classifier.classify(prepared).timings.run_ms
            found[way].append((run_ms, (time.thread_time() - began) * 1000))
    print(f"{name} on {loaded.facts.engine} {loaded.facts.precision}, 1 thread, {rounds} rounds\n")
    print("| classified by | run p50, ms | ratio | processor time of run and ranking, ms | ratio |")
    print("| --- | --- | --- | --- | --- |")
    base = [statistics.median(column) for column in zip(*found["the base"], strict=True)]
    for way, times in found.items():
        run_ms, cpu_ms = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| {way} | {run_ms:.2f} | {run_ms / base[0]:.3f} | {cpu_ms:.2f} | {cpu_ms / base[1]:.3f} |")
    classifier.close()


if __name__ == "__main__":
    main()
