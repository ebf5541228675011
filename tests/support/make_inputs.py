"""Makes small networks with unlike inputs and outputs: integers, one channel, one score, metadata inside.

Run as a process of its own: ``python make_inputs.py FOLDER``. The ``colours`` are those of ``make_colours``;
``grey`` tells dark, middle and bright; ``warm`` gives one score, high for red and low for blue.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from make_colours import COLOURS, SIDE, logits

v1 = tf.compat.v1
SHAPE = (1, SIDE, SIDE, 3)
Network = Callable[[tf.Tensor], tf.Tensor]
CAFFE_MEAN = (103.939, 116.779, 123.68)
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def colours(unit: tf.Tensor) -> tf.Tensor:
    """Of pixels in [0, 1]."""
    return tf.nn.softmax(logits(unit))


def grey(unit: tf.Tensor) -> tf.Tensor:
    """Of one channel in [0, 1]: dark, middle, bright; nearest to 0, 0.5 and 1."""
    centres = np.array([[0.0, 0.5, 1.0]], np.float32)
    return tf.nn.softmax(-20 * tf.square(tf.reduce_mean(unit, [1, 2]) - centres))


def warm(unit: tf.Tensor, weight: float = 8.0, bias: float = 0.0) -> tf.Tensor:
    """One logit of pixels in [0, 1]: more for red, less for blue."""
    weights = np.array([[weight], [0.0], [-weight]], np.float32)
    return tf.nn.bias_add(tf.reduce_mean(unit, [1, 2]) @ weights, [bias])


def modest(unit: tf.Tensor) -> tf.Tensor:
    """One logit that lies between 0.3 and 0.7 whatever the picture, as a probability could."""
    return warm(unit, 0.2, 0.5)


def converter(function: Network, shape: Sequence[int] = SHAPE, dtype: tf.DType = tf.float32):
    spec = tf.TensorSpec(shape, dtype, name="pixels")
    concrete = tf.function(lambda pixels: {"scores": function(pixels)}).get_concrete_function(spec)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())


def without_weights() -> bytes:
    """A function that calls a Keras model, as TensorFlow's converter leaves it: without the variables."""
    pixels = tf.keras.Input(SHAPE[1:])
    model = tf.keras.Model(pixels, tf.keras.layers.Conv2D(3, 1)(pixels))
    spec = tf.TensorSpec(SHAPE, tf.float32, name="pixels")
    concrete = tf.function(lambda pixels: colours(model(pixels))).get_concrete_function(spec)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model).convert()


def quantised(function: Network, low: float, high: float, dtype: tf.DType, ops: str) -> bytes:
    """Calibrated with even pictures from `low` to `high`."""
    made = converter(function)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    ends = [np.full(SHAPE, value, np.float32) for value in np.linspace(low, high, 9)]
    made.representative_dataset = lambda: ([each] for each in ends)
    made.target_spec.supported_ops = [getattr(tf.lite.OpsSet, ops)]
    made.inference_input_type = made.inference_output_type = dtype
    return made.convert()


def flatbuffer_files(folder: Path) -> None:
    def write(name: str, content: bytes) -> None:
        (folder / f"{name}.tflite").write_bytes(content)

    def of_bytes(dtype: tf.DType, zero: float = 0.0) -> bytes:
        return converter(lambda x: colours((tf.cast(x, tf.float32) - zero) / 255), dtype=dtype).convert()

    write("uint8_plain", of_bytes(tf.uint8))
    write("int8_plain", of_bytes(tf.int8, -128.0))
    write("int32_plain", of_bytes(tf.int32))
    write("int64_plain", of_bytes(tf.int64))
    write("float64_plain", of_bytes(tf.float64))
    write("unit", converter(colours).convert())
    signed: Network = lambda x: colours(x / 2 + 0.5)  # noqa: E731
    write("uint8_signed", quantised(signed, -1, 1, tf.uint8, "TFLITE_BUILTINS_INT8"))
    write("uint8_narrow", quantised(signed, -0.9, 0.9, tf.uint8, "TFLITE_BUILTINS_INT8"))
    write("int8_dim", quantised(colours, 0, 0.52, tf.int8, "TFLITE_BUILTINS_INT8"))
    write("int8_odd", quantised(lambda x: colours(x / 7), 0, 7, tf.int8, "TFLITE_BUILTINS_INT8"))
    int16 = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
    write("int16_signed", quantised(signed, -1, 1, tf.int16, int16))
    write("caffe", converter(lambda x: colours(((x + CAFFE_MEAN) / 255)[..., ::-1])).convert())
    write("torch", converter(lambda x: colours(_from_torch(tf.transpose(x, (0, 2, 3, 1)))),
                             (1, 3, SIDE, SIDE)).convert())  # fmt: skip
    write("grey", converter(grey, (1, SIDE, SIDE, 1)).convert())
    write(
        "grey_first", converter(lambda x: grey(tf.transpose(x, (0, 2, 3, 1))), (1, 1, SIDE, SIDE)).convert()
    )
    write("grey_int8", converter(lambda x: grey((tf.cast(x, tf.float32) + 128) / 255),
                                 (1, SIDE, SIDE, 1), tf.int8).convert())  # fmt: skip
    write("warm", converter(lambda x: tf.sigmoid(warm(x))).convert())
    write("warm_logit", converter(modest).convert())
    write("no_weights", without_weights())
    write("eight", converter(colours, (8, SIDE, SIDE, 3)).convert())
    write("metadata", converter(colours).convert())
    add_metadata(folder / "metadata.tflite", (0.0,), (255.0,), "classes.txt", "\n".join(COLOURS))
    write("metadata_channels", (folder / "caffe.tflite").read_bytes())
    add_metadata(folder / "metadata_channels.tflite", CAFFE_MEAN, (1.0,), "classes.txt", "\n".join(COLOURS))
    write("metadata_lost", (folder / "unit.tflite").read_bytes())
    add_metadata(folder / "metadata_lost.tflite", (0.0,), (255.0,), "classes.txt", None)
    # What the metadata say of a quantised input that cannot hold it is meant for bytes.
    write("metadata_bytes", (folder / "uint8_signed.tflite").read_bytes())
    add_metadata(folder / "metadata_bytes.tflite", (0.0,), (1.0,), "classes.txt", "\n".join(COLOURS))


def _from_torch(x: tf.Tensor) -> tf.Tensor:
    return x * np.array(TORCH_STD, np.float32) + np.array(TORCH_MEAN, np.float32)


def add_metadata(
    path: Path, mean: Sequence[float], std: Sequence[float], labels: str, content: str | None
) -> None:
    """Put TFLite Metadata into the model at `path`, as ``tflite_support``'s writers do."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata(mean, std, labels), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    if content is not None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(labels, content)


def _metadata(mean: Sequence[float], std: Sequence[float], labels: str) -> bytes:
    """Pixels' normalisation of the only input, and two files of labels of the only output."""
    builder = flatbuffers.Builder(256)

    def table(size: int, *fields: tuple[int, str, object]) -> int:
        builder.StartObject(size)
        for place, kind, value in fields:
            if kind == "byte":
                builder.PrependUint8Slot(place, value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(place, value, 0)
        return builder.EndObject()

    def vector(values: Sequence[object], prepend: Callable[[object], None]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            prepend(value)
        return builder.EndVector()

    def tables(*offsets: int) -> int:
        return vector(offsets, builder.PrependUOffsetTRelative)

    name = builder.CreateString(labels)
    german = builder.CreateString("labels-de.txt")
    locale = builder.CreateString("de")
    files = [
        table(5, (0, "offset", german), (2, "byte", 2), (3, "offset", locale)),
        table(5, (0, "offset", name), (2, "byte", 2)),
    ]
    given = table(7, (6, "offset", tables(*files)))
    means, stds = (vector(values, builder.PrependFloat32) for values in (mean, std))
    options = table(2, (0, "offset", means), (1, "offset", stds))
    unit = table(2, (0, "byte", 1), (1, "offset", options))
    taken = table(7, (4, "offset", tables(unit)))
    graph = table(10, (2, "offset", tables(taken)), (3, "offset", tables(given)))
    builder.Finish(table(8, (3, "offset", tables(graph))), b"M001")
    return bytes(builder.Output())


def graph_files(folder: Path) -> None:
    def write(name: str, shape: Sequence[int], dtype: tf.DType, build: Network) -> None:
        with tf.Graph().as_default() as graph:
            tf.identity(build(v1.placeholder(dtype, shape, name="pixels")), name="answer")
        (folder / f"{name}.pb").write_bytes(graph.as_graph_def().SerializeToString())

    write("int32", SHAPE, tf.int32, lambda x: colours(tf.cast(x, tf.float32) / 255))
    write("int8", SHAPE, tf.int8, lambda x: colours((tf.cast(x, tf.float32) + 128) / 255))
    write("half", SHAPE, tf.float16, lambda x: tf.cast(colours(tf.cast(x, tf.float32)), tf.float16))
    write("grey", (None, SIDE, SIDE, 1), tf.float32, grey)
    write("grey_first", (None, 1, SIDE, SIDE), tf.float32, lambda x: grey(tf.transpose(x, (0, 2, 3, 1))))
    write("warm", SHAPE, tf.float32, lambda x: tf.sigmoid(warm(x)))
    write("warm_logit", SHAPE, tf.float32, modest)


def keras_files(folder: Path) -> None:
    layers = tf.keras.layers
    for name, policy in (("warm", "float32"), ("half", "mixed_float16")):
        tf.keras.mixed_precision.set_global_policy(policy)
        dense = layers.Dense(1, activation="sigmoid")
        model = tf.keras.Sequential(
            [layers.Input((SIDE, SIDE, 3)), layers.Conv2D(3, 1), layers.GlobalAveragePooling2D(), dense]
        )
        model.layers[0].set_weights([np.eye(3, dtype=np.float32)[None, None], np.zeros(3, np.float32)])
        dense.set_weights([np.array([[8.0], [0.0], [-8.0]], np.float32), np.zeros(1, np.float32)])
        model.save(folder / f"{name}.keras")


if __name__ == "__main__":
    graph_files(Path(sys.argv[1]))
    flatbuffer_files(Path(sys.argv[1]))
    keras_files(Path(sys.argv[1]))
