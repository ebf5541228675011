"""Convert a frozen GraphDef to LiteRT, and quantize the result.

Each of the two steps runs in its own child process, because both import TensorFlow and take its memory.
TensorFlow's converter starts from the folded graph (:mod:`incv3d.models.graph.fold`), because it does not
support ``BatchNormWithGlobalNormalization``. Quantization starts from the float flatbuffer: as separate
steps, calibration and quantization take two thirds of the memory that the converter takes for all at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from incv3d.engines.base import Pixels
from incv3d.errors import Incv3dError
from incv3d.machine import trim_heap
from incv3d.models.entry import ModelError
from incv3d.models.graph.fold import node_name
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.graph.prepare_graph import fold_graph

KEPT_FLOAT = ["FULLY_CONNECTED", "SOFTMAX"]
"""Operations that are not quantized: the last layers, so that scores have a finer resolution than 8 bits."""

UNKNOWN_OPERATION = re.compile(r"'?tf\.(\w+)'? op is neither a custom op nor a flex op")
UNREGISTERED = re.compile(r"[Oo]p type not registered '(\w+)'")


class FloatJob(msgspec.Struct, frozen=True, kw_only=True, tag="float32"):
    """A graph to convert, passed to the child process as JSON."""

    graph: str
    input: str
    input_shape: tuple[int, int, int, int]
    output: str
    out: str


class QuantiseJob(msgspec.Struct, frozen=True, kw_only=True, tag="int8"):
    """A float flatbuffer to quantize."""

    network: str
    pixels: str
    """A :class:`PixelFile`."""
    images: tuple[int, ...]
    """The images in it to use for calibration."""
    input_shape: tuple[int, int, int, int]
    out: str


def to_float(job: FloatJob) -> None:
    """Convert the graph and write the flatbuffer to the file ``job.out``.

    :raises ModelError: it cannot be converted.
    """
    import tensorflow as tf

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


def quantise(job: QuantiseJob) -> None:
    """Quantize the flatbuffer to 8 bits and write it to ``job.out``; its last layers stay float.

    :raises ModelError: it cannot be quantized.
    """
    # TensorFlow's Python API combines these two steps with an unnecessary debug model: 2.3 GB instead of 1.4
    # GB for Inception-v3.
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.optimize import calibrator

    try:
        network = calibrator.add_intermediate_tensors(Path(job.network).read_bytes())
        calibration = calibrator.Calibrator(network, [], [])
        network = calibration.calibrate(lambda: _examples(job))
        del calibration
        trim_heap()
        quantised = convert.mlir_quantize(network, denylisted_ops=KEPT_FLOAT)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the quantizer's errors have no common base
        raise ModelError(f"cannot be quantized: {explain(str(error))}") from None
    Path(job.out).write_bytes(quantised)


def explain(message: str) -> str:
    """Return the converter's error in one line."""
    unknown = sorted({*UNKNOWN_OPERATION.findall(message), *UNREGISTERED.findall(message)})
    if unknown:
        return f"the graph uses operations that LiteRT does not support: {', '.join(unknown)}"
    return " ".join(message.split())[:300]


def _examples(job: QuantiseJob) -> Iterator[list[Pixels]]:
    pixels = PixelFile(Path(job.pixels), job.input_shape)
    for number, image in enumerate(job.images, start=1):
        yield [pixels.read(image)]
        print(f"{number}/{len(job.images)}", flush=True)  # noqa: T201 - the parent process reads it


def main(job: str) -> None:
    """Run one of the two steps."""
    decoded: FloatJob | QuantiseJob = msgspec.json.decode(job, type=FloatJob | QuantiseJob)
    if isinstance(decoded, FloatJob):
        to_float(decoded)
    else:
        quantise(decoded)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        sys.exit(f"the store cannot be written: {failure.strerror}")
    except MemoryError:
        sys.exit("out of memory")
