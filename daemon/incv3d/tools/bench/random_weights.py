"""Build Inception-v3 with random weights, for timing on machines without the trained ones.

Runs as a child process (``python -m incv3d.tools.bench.random_weights OUT.pb``), because it imports
TensorFlow and Keras. The network is ``keras.applications.InceptionV3``, preceded by the nodes of Google's
graph of 2015 that decode a JPEG and stretch it to 299x299, under the same names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from incv3d.errors import Incv3dError
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError
from incv3d.models.labels import Label, format_labels
from incv3d.models.prepare import run_child
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel

FOLDER = "bench"
"""In the state directory: a separate store, so that this network is never used as a model."""
NAME = "inception-v3-random"
LIKE = "inception-v3"
MAKER = "incv3d.tools.bench.random_weights"
MAKER_VERSION = 2
SEED = 2015


def ensure_random_model(store: ModelStore, progress: Callable[[str], None]) -> StoredModel:
    """Return the network in `store`; build it if it is missing.

    :param store: a store for benchmarks only.
    :raises ModelError: if it cannot be built.
    """
    made_by = f"{MAKER} {MAKER_VERSION}"
    there = store.find(NAME)
    if there is None or there.manifest.made_by != made_by:
        progress(
            f"building {NAME} (once; imports TensorFlow and Keras, which takes minutes on a Raspberry Pi)"
        )
        entry = msgspec.structs.replace(
            load_catalog()[LIKE],
            golden=None, url="", archive_bytes=None, graph_bytes=None, licence="", source="random weights",
        )  # fmt: skip
        with store.adding(NAME, entry, replace=True, made_by=made_by) as folder:
            try:
                run_child(MAKER, [str(folder / GRAPH)])
            except ModelError as error:
                raise ModelError(f"{NAME} could not be built: {error}") from None
            (folder / LABELS).write_text(format_labels([Label(0, "", "class 0")]), "utf-8")
    return store.get(NAME)


def build() -> bytes:
    """Return the serialized GraphDef, with the tensor names of the catalog's ``inception-v3``."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    entry = load_catalog()[LIKE]
    tf.keras.utils.set_random_seed(SEED)
    network = tf.keras.applications.InceptionV3(weights=None, classes=entry.outputs)
    _settle_norms(tf, network)
    pixels = tf.TensorSpec((1, entry.height, entry.width, 3), tf.float32)
    call = tf.function(lambda x: network(x, training=False)).get_concrete_function(pixels)
    frozen = convert_variables_to_constants_v2(call)
    graph = tf.Graph()
    with graph.as_default():
        fed = _decoded(tf, entry)
        (scores,) = tf.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={frozen.inputs[0].name: fed},
            return_elements=[frozen.outputs[0].name],
            name="network",
        )
        tf.identity(scores, name=entry.output.split(":")[0])
    serialized: bytes = graph.as_graph_def().SerializeToString(deterministic=True)
    return serialized


def _settle_norms(tf: Any, network: Any) -> None:
    """Give every batch normalization random statistics, as after training.

    By default they are zeros and ones, which TensorFlow's optimizer removes, together with work that every
    trained network has.
    """
    generator = np.random.default_rng(SEED)
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            shape = layer.beta.shape
            layer.beta.assign(generator.normal(0.0, 0.1, shape))
            layer.moving_mean.assign(generator.normal(0.0, 0.1, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))


def _decoded(tf: Any, entry: Any) -> Any:
    """Decode a JPEG to the network's pixels, node by node as in the graph of 2015."""
    v1 = tf.compat.v1
    contents = v1.placeholder(tf.string, (), name="DecodeJpeg/contents")
    picture = tf.raw_ops.DecodeJpeg(contents=contents, channels=3, name="DecodeJpeg")
    batch = tf.expand_dims(tf.cast(picture, tf.float32, name="Cast"), 0, name="ExpandDims")
    resized = tf.raw_ops.ResizeBilinear(
        images=batch, size=tf.constant([entry.height, entry.width]), name="ResizeBilinear"
    )
    centered = tf.subtract(resized, entry.mean, name="Sub")
    return tf.multiply(centered, 1 / entry.scale, name="Mul")


def main(out: str) -> None:
    """Build the graph and write it to the file `out`."""
    Path(out).write_bytes(build())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        main(sys.argv[1])
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.exit(f"the store cannot be written: {failure.strerror}")
