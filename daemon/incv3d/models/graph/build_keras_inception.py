"""Build Keras' Inception-v3 as a frozen GraphDef, with weights from an HDF5 file.

Run as a child process (``python -m incv3d.models.graph.build_keras_inception WEIGHTS OUT.pb``), because
importing TensorFlow takes much memory.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from incv3d.child_process import report_failures
from incv3d.errors import one_line
from incv3d.models.entry import ModelError

INPUT, OUTPUT = "pixels", "scores"
SIDE = 299


def is_hdf5(path: Path) -> bool:
    """Return whether the file at `path` begins like HDF5.

    :raises OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def is_whole_model(path: Path) -> bool:
    """Return whether an HDF5 file of Keras has a network's layers, and not only its weights.

    :raises OSError: the file cannot be read.
    """
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"model_config") >= 0  # an attribute, whose name is stored as plain text


def build(weights: Path) -> bytes:
    """Return the serialized GraphDef: ``pixels:0`` is ``(1, 299, 299, 3) float32``, ``scores:0`` ``(1,
    1000)``.

    :raises ModelError: the file does not contain the weights of Keras' Inception-v3.
    """
    suffix = _suffix(weights)
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf.keras.applications.InceptionV3(weights=None)
    with tempfile.TemporaryDirectory() as scratch:
        # Keras distinguishes its two file layouts by the file's name alone.
        named = Path(scratch) / f"weights{suffix}"
        named.symlink_to(weights.absolute())
        try:
            model.load_weights(named)
        except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
            message = one_line(error)
            raise ModelError(f"{weights}: not the weights of Keras' Inception-v3: {message}") from None

    def scores(pixels: Any) -> Any:
        return tf.identity(model(pixels, training=False), name=OUTPUT)

    signature = tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name=INPUT)
    concrete = tf.function(scores).get_concrete_function(signature)
    graph = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    serialized: bytes = tf.compat.v1.graph_util.extract_sub_graph(graph, [OUTPUT]).SerializeToString(
        deterministic=True
    )
    return serialized


def _suffix(weights: Path) -> str:
    """Return the suffix that Keras expects for such a file."""
    import h5py

    try:
        with h5py.File(weights, "r") as file:
            return ".h5" if "layer_names" in file.attrs or "model_weights" in file else ".weights.h5"
    except OSError as error:
        message = one_line(error)
        raise ModelError(f"{weights}: damaged: {message}") from None


def main(weights: str, out: str) -> None:
    """Build the graph and write it to the file `out`."""
    Path(out).write_bytes(build(Path(weights)))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with report_failures():
        main(*sys.argv[1:3])
