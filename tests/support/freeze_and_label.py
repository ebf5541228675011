"""Freezes many networks in one process, and asks each of them for its five colours.

Run as ``python freeze_and_label.py JOBS.json``; prints, as JSON, an object for each job: ``facts``, the pixel
range that the network has ``declared``, the ``labels`` of a red, a green, a blue, a white and a black
picture, and the ``halves``, its operations in half precision; or the ``error``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from incv3d.errors import Incv3dError
from incv3d.models.graph.freeze import freeze
from incv3d.models.graph.freeze_job import FreezeJob, NetworkFacts
from incv3d.models.normalisation import ASSUMED

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "black": (0, 0, 0)}


def label(graph_def: Any, facts: NetworkFacts) -> list[str]:
    """The best label of each colour, its pixels in the range that the facts say."""
    low, high = facts.normalisation.pixel_range or (-1.0, 1.0)
    found = []
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        for colour in COLOURS.values():
            pixels = np.ones((1, facts.height, facts.width, 1)) * colour * (high - low) + low
            scores = session.run(facts.output, {facts.input: pixels})
            found.append(list(COLOURS)[int(scores.argmax())])
    return found


def attempt(job: FreezeJob) -> dict[str, Any]:
    try:
        facts = freeze(job)
        graph_def = tf.compat.v1.GraphDef.FromString(Path(job.network).read_bytes())
        declared = None if facts.normalisation.why == ASSUMED else facts.normalisation.pixel_range
        halves = [node.name for node in graph_def.node if node.attr["T"].type == tf.float16.as_datatype_enum]
        return {
            "facts": facts,
            "declared": declared,
            "labels": label(graph_def, facts),
            "halves": halves,
        }
    except Incv3dError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    jobs = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[FreezeJob])
    print(msgspec.json.encode([attempt(job) for job in jobs]).decode())
