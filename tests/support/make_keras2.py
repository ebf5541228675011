"""Makes what Keras 2 saved, as Teachable Machine's export has it, and some hostile files.

Run as a process of its own: ``python make_keras2.py FOLDER``. Needs ``tf_keras``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tf_keras

layers = tf_keras.layers
SIDE = 32
COLOURS = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)], np.float32)
SHARPNESS = 4.0


def teachable() -> tf_keras.Model:
    """Sequential of Sequentials, the first one of a functional model with a depthwise convolution."""
    fed = layers.Input((SIDE, SIDE, 3))
    x = layers.DepthwiseConv2D(1, use_bias=False, name="expanded_conv_depthwise")(fed)
    backbone = tf_keras.Model(fed, layers.BatchNormalization(epsilon=1e-12)(x), name="model1")
    features = tf_keras.Sequential([backbone, layers.GlobalAveragePooling2D()])
    head = tf_keras.Sequential([layers.Dense(5, activation="softmax", input_shape=(3,))])
    model = tf_keras.Sequential([features, head])
    model.build((None, SIDE, SIDE, 3))
    backbone.get_layer("expanded_conv_depthwise").set_weights([np.ones((1, 1, 3, 1), np.float32)])
    # Of pixels in [-1, 1].
    weights, biases = 2 * SHARPNESS * COLOURS.T, -SHARPNESS * (COLOURS**2).sum(1)
    head.layers[0].set_weights([weights / 2, biases + weights.sum(0) / 2])
    return model


def changed(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Copy an HDF5 file, its description of every layer changed."""
    shutil.copyfile(source, target)

    def visit(each: Any) -> None:
        if isinstance(each, dict):
            change(each)
        for inner in each.values() if isinstance(each, dict) else each if isinstance(each, list) else ():
            visit(inner)

    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        visit(config)
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"2.4.0"


def as_teachable_machine(each: dict[str, Any]) -> None:
    """With the key that Keras 3 does not know, and without the modules that later Keras 2 writes."""
    if each.get("class_name") == "DepthwiseConv2D":
        each["config"]["groups"] = 1
    if "class_name" in each:
        each.pop("module", None)
        each.pop("registered_name", None)


def from_another_module(each: dict[str, Any]) -> None:
    if each.get("class_name") == "GlobalAveragePooling2D":
        each.update(class_name="system", module="os", registered_name=None)


def fetching(each: dict[str, Any]) -> None:
    if each.get("class_name") == "GlobalAveragePooling2D":
        each.update(class_name="get_file", module="keras.utils", registered_name=None)


def loading(each: dict[str, Any]) -> None:
    if each.get("class_name") == "GlobalAveragePooling2D":
        each.update(class_name="load_model", module="keras.src.models", registered_name=None)


def writing(each: dict[str, Any]) -> None:
    if each.get("class_name") == "GlobalAveragePooling2D":
        each.update(class_name="TFOpLambda", config={"name": "x", "function": "io.write_file"})
        each.pop("module", None)


def main(folder: Path) -> None:
    model = teachable()
    model.save(folder / "saved.h5")
    changed(folder / "saved.h5", folder / "teachable.h5", as_teachable_machine)
    model.save(folder / "keras2.keras")
    changed(folder / "saved.h5", folder / "os.h5", from_another_module)
    changed(folder / "saved.h5", folder / "get_file.h5", fetching)
    changed(folder / "saved.h5", folder / "load_model.h5", loading)
    changed(folder / "saved.h5", folder / "write_file.h5", writing)
    fed = layers.Input((SIDE, SIDE, 3))
    tf_keras.Model(fed, layers.Lambda(lambda x: x)(fed)).save(folder / "lambda2.h5")
    fed = layers.Input((SIDE, SIDE, 3))
    scaled = tf_keras.applications.mobilenet_v2.preprocess_input(fed)
    tf_keras.Model(fed, model(scaled)).save(folder / "preprocessed.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
