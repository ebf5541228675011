"""Makes one small network, "which of five colours is this?", in every form in which people have theirs.

Run as a process of its own: ``python make_colours.py FOLDER``. The scores are those of the nearest of five
colours, so a wrong pixel range, channel order or layout shows as a wrong colour.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "black": (0, 0, 0)}
SIDE = 32
SHARPNESS = 4.0

CENTRES = np.array(list(COLOURS.values()), np.float32)
WEIGHTS = 2 * SHARPNESS * CENTRES.T
BIASES = -SHARPNESS * (CENTRES**2).sum(axis=1)


def logits(unit: tf.Tensor) -> tf.Tensor:
    """Of pixels in [0, 1], through a convolution with its batch normalisation, both of no effect."""
    kernel = np.eye(3, dtype=np.float32)[None, None] * 2
    x = tf.nn.conv2d(unit, kernel, 1, "SAME")
    halved, _, _ = v1.nn.fused_batch_norm(
        x, np.full(3, 0.5, np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32),
        np.ones(3, np.float32), epsilon=1e-12, is_training=False,
    )  # fmt: skip
    return tf.matmul(tf.reduce_mean(halved, [1, 2]), WEIGHTS) + BIASES


def pixels(shape: tuple[int | None, ...] = (1, SIDE, SIDE, 3), name: str = "camera/pixels") -> tf.Tensor:
    return v1.placeholder(tf.float32, shape, name=name)


def graphdefs(folder: Path) -> None:
    """Frozen graphs: the ordinary one, an odd one, and several that must be refused."""

    def ordinary() -> None:
        tf.nn.softmax(logits(pixels()), name="answer/softmax")

    def odd() -> None:
        """Channels first, blue first, in [-1, 1], any number of pictures, logits out."""
        x = tf.transpose(pixels((None, 3, SIDE, SIDE)), [0, 2, 3, 1])[..., ::-1]
        tf.identity(logits(x / 2 + 0.5), name="answer")

    def two_answers() -> None:
        y = logits(pixels())
        tf.nn.softmax(y, name="first")
        tf.nn.softmax(-y, name="second")

    def any_size() -> None:
        tf.nn.softmax(logits(pixels((None, None, None, 3))), name="answer")

    def needs_more() -> None:
        keep = v1.placeholder(tf.float32, (), name="keep_prob")
        tf.nn.softmax(logits(pixels()) * keep, name="answer")

    def not_frozen() -> None:
        v1.disable_resource_variables()
        weights = v1.get_variable("weights", WEIGHTS.shape)
        tf.matmul(tf.reduce_mean(pixels(), [1, 2]), weights, name="answer")

    def no_classifier() -> None:
        tf.nn.relu(pixels(), name="answer")

    def slow_logits() -> None:
        """Within [0, 1] for every picture in [-1, 1], and beyond it for those in [0, 255]."""
        tf.matmul(tf.reduce_mean(pixels(), [1, 2]), np.full((3, 5), 0.01, np.float32), name="answer")

    def branching() -> None:
        """Dark pictures take another way, on which nothing happens to them either."""
        x = pixels()
        x = v1.cond(tf.reduce_mean(x) > 0.3, lambda: x, lambda: x + tf.zeros(3))
        tf.nn.softmax(logits(x), name="answer")

    def four_channels() -> None:
        tf.reduce_mean(pixels((1, SIDE, SIDE, 4)), [1, 2], name="answer")

    def resizes() -> None:
        """From a JPEG's bytes on, as TensorFlow 2 resizes."""
        picture = tf.image.decode_jpeg(v1.placeholder(tf.string, (), name="bytes"), 3)
        resized = tf.image.resize(tf.cast(picture, tf.float32)[None], (SIDE, SIDE), antialias=True)
        tf.nn.softmax(logits(resized / 255.0), name="answer")

    for build in (
        ordinary, odd, two_answers, any_size, needs_more, not_frozen, no_classifier, four_channels,
        slow_logits, branching, resizes,
    ):  # fmt: skip
        with tf.Graph().as_default() as graph:
            build()
        (folder / f"{build.__name__}.pb").write_bytes(graph.as_graph_def().SerializeToString())


def keras_model() -> tf.keras.Model:
    """The same of pixels in [0, 1], trained by decree."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(3, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(COLOURS), activation="softmax"),
        ]
    )
    model.layers[0].set_weights([np.eye(3, dtype=np.float32)[None, None]])
    model.layers[-1].set_weights([WEIGHTS, BIASES])
    return model


def saved_model(folder: Path) -> None:
    """A SavedModel of bytes in, logits out."""

    class Colours(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(1 / 255.0)

        @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="picture")])
        def __call__(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"logits": logits(tf.cast(picture, tf.float32) * self.scale)}

    tf.saved_model.save(Colours(), str(folder / "saved"))
    shutil.copytree(folder / "saved", folder / "saved_by_1")
    file = folder / "saved_by_1/saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    saved.meta_graphs[0].meta_info_def.tensorflow_version = "1.15.5"
    file.write_bytes(saved.SerializeToString())


def flatbuffers(folder: Path, model: tf.keras.Model) -> None:
    """Float, and quantised to bytes in and out."""
    samples = [np.full((1, SIDE, SIDE, 3), colour, np.float32) for colour in COLOURS.values()]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / "float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (folder / "quantised.tflite").write_bytes(converter.convert())


def bad_files(folder: Path) -> None:
    """What is no network, or a hostile one."""
    lambda_model = tf.keras.Sequential(
        [tf.keras.layers.Input((8, 8, 3)), tf.keras.layers.Lambda(lambda x: x)]
    )
    lambda_model.save(folder / "lambda.keras")
    for whole in ("ordinary.pb", "colours.keras", "quantised.tflite", "colours.h5"):
        data = (folder / whole).read_bytes()
        (folder / f"cut-{whole}").write_bytes(data[: len(data) // 2])
    with zipfile.ZipFile(folder / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w", force_zip64=True) as member:
            for _ in range(3 << 10):
                member.write(bytes(1 << 20))
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")


def main(folder: Path) -> None:
    graphdefs(folder)
    model = keras_model()
    model.save(folder / "colours.keras")
    model.save(folder / "colours.h5")
    saved_model(folder)
    flatbuffers(folder, model)
    bad_files(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
