"""Makes the colour network of :mod:`make_colours` in the forms in which tools and tutorials leave it.

Run as a process of its own: ``python make_found.py FOLDER``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from make_colours import BIASES, SIDE, WEIGHTS, logits

v1 = tf.compat.v1
layers = tf.keras.layers
LOSSY_JPEG = tf.io.encode_jpeg(np.zeros((8, 8, 3), np.uint8)).numpy()


def write(path: Path, build: Callable[[], object]) -> None:
    with tf.Graph().as_default() as graph:
        build()
    path.write_bytes(graph.as_graph_def().SerializeToString())


def of_signed(signed: tf.Tensor) -> tf.Tensor:
    """The logits of pixels in [-1, 1], whose first convolution takes them as they are."""
    x = tf.nn.conv2d(signed, np.eye(3, dtype=np.float32)[None, None], 1, "SAME")
    return tf.matmul(tf.reduce_mean(x, [1, 2]) / 2 + 0.5, WEIGHTS) + BIASES


def retrained(features: tf.Tensor) -> None:
    """The end that ``retrain.py`` puts on a network."""
    bottleneck = v1.placeholder_with_default(features, (None, 5), name="input/BottleneckInputPlaceholder")
    tf.nn.softmax(bottleneck, name="final_result")


def retrain_2017() -> None:
    """``retrain.py`` of 2017: the graph decodes, resizes and scales by itself."""
    decoded = tf.raw_ops.DecodeJpeg(
        contents=tf.constant(LOSSY_JPEG, name="DecodeJpeg/contents"), channels=3, name="DecodeJpeg"
    )
    batch = tf.expand_dims(tf.cast(decoded, tf.float32, name="Cast"), 0, name="ExpandDims")
    resized = v1.image.resize_bilinear(batch, (SIDE, SIDE), name="ResizeBilinear")
    retrained(of_signed(tf.multiply(tf.subtract(resized, 128.0, name="Sub"), 1 / 128.0, name="Mul")))


def retrain_hub() -> None:
    """``retrain.py`` since 2018: a hub module, which takes [0, 1]; its JPEG decoding lies beside it."""
    pixels = v1.placeholder(tf.float32, (None, SIDE, SIDE, 3), name="Placeholder")
    jpeg = v1.placeholder(tf.string, name="DecodeJPGInput")
    v1.image.resize_bilinear(tf.expand_dims(tf.image.decode_jpeg(jpeg, 3), 0), (SIDE, SIDE))
    scaled = tf.subtract(tf.multiply(pixels, 2.0, name="module_apply_default/hub_input/Mul"), 1.0)
    retrained(of_signed(scaled))


def retrain_mobilenet() -> None:
    """``retrain.py --architecture mobilenet``: [-1, 1] into the tensor ``input``."""
    retrained(of_signed(v1.placeholder(tf.float32, (1, SIDE, SIDE, 3), name="input")))


def picked() -> None:
    """Scores, of which the graph picks the best by itself; and half precision."""
    pixels = v1.placeholder(tf.float16, (None, SIDE, SIDE, 3))
    scores = tf.nn.softmax(logits(tf.cast(pixels, tf.float32) / 255.0), name="scores")
    tf.argmax(scores, 1, name="best")


def noisy() -> None:
    """Dropout that was left on."""
    pixels = v1.placeholder(tf.float32, (1, SIDE, SIDE, 3))
    tf.nn.softmax(logits(tf.nn.experimental.stateless_dropout(pixels, 0.5, (1, 2))), name="scores")


def conditional(pixels: tf.Tensor) -> tf.Tensor:
    """Dark pictures, as this network takes them, are made brighter first."""
    return logits(tf.cond(tf.reduce_mean(pixels) < 0.2, lambda: pixels * 1.0, lambda: pixels + 0.0))


def cond_v1() -> None:
    with v1.control_dependencies([]):
        v1.disable_control_flow_v2()
        tf.nn.softmax(conditional(v1.placeholder(tf.float32, (1, SIDE, SIDE, 3))), name="scores")


def cond_v2() -> None:
    v1.enable_control_flow_v2()
    tf.nn.softmax(conditional(v1.placeholder(tf.float32, (1, SIDE, SIDE, 3))), name="scores")


def mapped() -> None:
    pixels = v1.placeholder(tf.float32, (1, SIDE, SIDE, 3))
    tf.nn.softmax(logits(tf.map_fn(lambda picture: picture * 1.0, pixels)), name="scores")


def writing(op: Callable[[tf.Tensor], tf.Operation]) -> None:
    """Scores that wait for an operation with consequences."""
    pixels = v1.placeholder(tf.float32, (1, SIDE, SIDE, 3))
    scores = tf.nn.softmax(logits(pixels))
    with tf.control_dependencies([op(scores)]):
        tf.identity(scores, name="scores")


def in_function(scores: tf.Tensor) -> tf.Operation:
    @tf.function
    def inner(values: tf.Tensor) -> tf.Tensor:
        tf.io.write_file("written", tf.strings.as_string(values[0, 0]))
        return values + 1

    return inner(scores).op


BEYOND: dict[str, Callable[[tf.Tensor], tf.Operation]] = {
    "WriteFile": lambda scores: tf.io.write_file("written", "x"),
    "ReadFile": lambda scores: tf.io.read_file("/etc/hostname").op,
    "PrintV2": lambda scores: tf.raw_ops.PrintV2(input="x", output_stream="file://written"),
    "MatchingFiles": lambda scores: tf.raw_ops.MatchingFiles(pattern="/etc/*").op,
    "PyFunc": lambda scores: v1.py_func(lambda x: x, [scores], tf.float32).op,
    "ImmutableConst": lambda scores: (
        tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=(4,), memory_region_name="/etc/hostname").op
    ),
    "SaveV2": lambda scores: tf.raw_ops.SaveV2(
        prefix="written", tensor_names=["a"], shape_and_slices=[""], tensors=[scores]
    ),
    "function-WriteFile": in_function,
}


class Served(tf.Module):
    """A SavedModel with a signature for JPEGs, and one for pixels in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(WEIGHTS)

    def _answer(self, unit: tf.Tensor) -> dict[str, tf.Tensor]:
        kernel = np.eye(3, dtype=np.float32)[None, None]
        x = tf.reduce_mean(tf.nn.conv2d(unit, kernel, 1, "SAME"), [1, 2])
        probabilities = tf.nn.softmax(tf.matmul(x, self.weights) + BIASES)
        return {"probabilities": probabilities, "classes": tf.argmax(probabilities, 1)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def by_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def decoded(each: tf.Tensor) -> tf.Tensor:
            return tf.image.resize(tf.io.decode_jpeg(each, 3), (SIDE, SIDE)) / 255.0

        return self._answer(tf.map_fn(decoded, image_bytes, fn_output_signature=tf.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="images")])
    def by_pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(images)

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="images")])
    def conditionally(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(tf.cond(tf.reduce_mean(images) < 0.2, lambda: images * 1.0, lambda: images))


class Writing(Served):
    """One that has a function that writes."""

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="images")])
    def writing(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.io.write_file("written", "x")
        return self._answer(images)


def saved_models(folder: Path) -> None:
    def save(name: str, served: Served, **signatures: object) -> None:
        tf.saved_model.save(served, str(folder / name), signatures=signatures)

    served = Served()
    save("bytes_and_pixels", served, serving_default=served.by_bytes, predict_images=served.by_pixels)
    save("only_bytes", served, serving_default=served.by_bytes)
    save("two_of_pixels", served, one=served.by_pixels, other=served.conditionally)
    save("conditional", served, serving_default=served.conditionally)
    writing = Writing()
    save("writing", writing, serving_default=writing.by_pixels, other=writing.writing)


def backbone(**settings: object) -> tf.keras.Model:
    """A model of [-1, 1] that others are built upon."""
    model = tf.keras.Sequential(
        [layers.Input((SIDE, SIDE, 3)), layers.Conv2D(3, 1, use_bias=False, **settings)], name="backbone"
    )
    model.layers[0].set_weights([np.eye(3, dtype=np.float32)[None, None]])
    return model


def head(x: object) -> object:
    """The rest of such a model: logits of the pooled values, which lie in [-1, 1]."""
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(len(BIASES), activation="softmax", dtype="float32", name="answer")(x)


def set_head(model: tf.keras.Model) -> tf.keras.Model:
    model.get_layer("answer").set_weights([WEIGHTS / 2, BIASES + WEIGHTS.sum(0) / 2])
    return model


def keras_models(folder: Path) -> None:
    def transfer(preprocess: Callable[[object], object]) -> tf.keras.Model:
        fed = layers.Input((SIDE, SIDE, 3))
        return set_head(tf.keras.Model(fed, head(backbone()(preprocess(fed)))))

    def augmented(x: object) -> object:
        x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(x))
        return layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomZoom(0.1)(x))

    rescaled = transfer(augmented)
    rescaled.save(folder / "rescaled.keras")
    rescaled.save(folder / "rescaled.h5")
    rescaled.save_weights(folder / "only.weights.h5")
    rescaled.export(folder / "augmented", verbose=False)
    transfer(lambda x: x / 127.5 - 1).save(folder / "arithmetic.keras")
    transfer(lambda x: layers.Normalization(mean=[127.5] * 3, variance=[127.5**2] * 3)(x)).save(
        folder / "normalised.keras"
    )
    transfer(lambda x: x).save(folder / "bare.keras")
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    transfer(layers.Rescaling(1 / 127.5, offset=-1)).save(folder / "mixed.keras")
    tf.keras.mixed_precision.set_global_policy("float16")
    transfer(layers.Rescaling(1 / 127.5, offset=-1)).save(folder / "half.keras")
    tf.keras.mixed_precision.set_global_policy("float32")

    @tf.keras.utils.register_keras_serializable("mine")
    class Own(layers.Layer):
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return x

    transfer(Own()).save(folder / "own.keras")
    transfer(layers.Lambda(lambda x: x / 127.5 - 1)).save(folder / "lambda.h5")


def main(folder: Path) -> None:
    for build in (retrain_2017, retrain_hub, retrain_mobilenet, picked, noisy, cond_v1, cond_v2, mapped):
        write(folder / f"{build.__name__}.pb", build)
    for name, op in BEYOND.items():
        write(folder / f"{name}.pb", lambda op=op: writing(op))
    saved_models(folder)
    keras_models(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
