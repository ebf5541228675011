"""Convert a frozen GraphDef to LiteRT in float32, with TensorFlow's converter, in a child process.

The converter starts from the folded graph (:mod:`incv3d.models.graph.fold`), because it does not support
``BatchNormWithGlobalNormalization``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from incv3d.child_process import decode, report_failures
from incv3d.machine import trim_heap
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.features import mark_features
from incv3d.models.graph.core_tensorflow import import_core
from incv3d.models.graph.fold import node_name
from incv3d.models.graph.prepare_graph import fold_graph

UNKNOWN_OPERATION = re.compile(r"'?tf\.(\w+)'? op is neither a custom op nor a flex op")
UNREGISTERED = re.compile(r"[Oo]p type not registered '(\w+)'")


class FloatJob(msgspec.Struct, frozen=True, kw_only=True):
    """A graph to convert, passed to the child process as JSON."""

    graph: str
    input: str
    input_shape: tuple[int, int, int, int]
    output: str
    out: str


def to_float(job: FloatJob) -> None:
    """Convert the graph and write the flatbuffer to the file ``job.out``.

    :raises ModelError: it cannot be converted.
    """
    tf = import_core(converter=True)
    graph = fold_graph(tf, Path(job.graph), job.input, job.input_shape, job.output)
    converter = tf.compat.v1.lite.TFLiteConverter(
        graph,
        None,
        None,
        input_arrays_with_shape=[(node_name(job.input), list(job.input_shape))],
        output_arrays=[job.output.removesuffix(":0")],
    )
    converter.exclude_conversion_metadata = True
    del graph
    trim_heap()  # before more is allocated: the peak counts
    try:
        converted = converter.convert()
    except Exception as error:  # noqa: BLE001 - the converter's errors have no common base
        raise ModelError(f"{job.graph}: {explain(str(error))}") from None
    Path(job.out).write_bytes(converted)
    mark_features(Path(job.out))


def explain(message: str) -> str:
    """Return the converter's error in one line."""
    unknown = sorted({*UNKNOWN_OPERATION.findall(message), *UNREGISTERED.findall(message)})
    if unknown:
        return f"the graph uses operations that LiteRT does not support: {', '.join(unknown)}"
    return " ".join(message.split())[:300]


if __name__ == "__main__":
    with report_failures():
        to_float(decode(sys.argv[1], FloatJob))
