"""Freeze a model saved by Keras, ``.keras`` or ``.h5``. Imports TensorFlow.

A file of Keras 2 is read with ``tf_keras``, its continuation, if that is installed, else with Keras 3, which
supports most such files. Code in a file is never run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from incv3d.errors import one_line
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import DAMAGED_ZIP, HDF5, KERAS_MEMBER
from incv3d.models.graph.freeze_formats import FrozenNetwork, declared_by_type
from incv3d.models.graph.freeze_job import FreezeJob, choose, input_shape
from incv3d.models.graph.frozen_graph import cast, trace

KERAS_2 = "tf_keras"
METADATA = "metadata.json"
LARGEST_CONFIG = 64 << 20
CODE = {"Lambda", "__lambda__"}
READERS = {
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
}
"""Layers that read other files or run other code when Keras creates them."""
EXPORT_IT = "export it where it was made with model.export('FOLDER'), and use FOLDER"
CODE_IS_MISSING = f"its code is not in the file; {EXPORT_IT}"
MODULES = {
    "activations", "constraints", "engine", "initializers", "layers", "losses", "metrics", "mixed_precision",
    "models", "optimizers", "regularizers",
}  # fmt: skip
"""Parts of Keras whose classes are layers or their settings; other parts can read and fetch files."""
HARMLESS_FUNCTIONS = (
    "__operators__.", "cast", "clip_by_value", "compat.v1.shape", "compat.v1.transpose", "concat",
    "convert_to_tensor", "expand_dims", "identity", "image.", "math.", "nn.", "reshape", "reverse", "split",
    "squeeze", "stack", "transpose", "unstack",
)  # fmt: skip
"""TensorFlow functions that a Keras 2 file may call by name; all others are rejected."""


def freeze_keras(job: FreezeJob) -> FrozenNetwork:
    """Freeze a model saved by Keras.

    :raises ModelError: it cannot be loaded, or has several inputs or outputs.
    """
    model = _load(job)
    if len(model.inputs) != 1:
        raise ModelError(f"{job.file}: has {len(model.inputs)} inputs instead of one, the image")
    _compute_in_full(model)
    # Only a functional model names its outputs.
    names = getattr(model, "output_names", [output.name for output in model.outputs])
    fed = model.inputs[0].name
    fetched = names.index(choose(job, "output", names))
    shape = input_shape(job, fed, list(model.inputs[0].shape))
    dtype = tf.as_dtype(model.inputs[0].dtype)

    def call(pixels: Any) -> Any:
        return tf.nest.flatten(model(cast(pixels, dtype), training=False))[fetched]

    return FrozenNetwork(trace(call, shape, job), shape, declared_by_type(dtype))


def _load(job: FreezeJob) -> Any:
    """Load the model with the version of Keras that saved it."""
    path = Path(job.file)
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5)) == HDF5
    version, config = _described_in_hdf5(path) if is_hdf5 else _described_in_zip(path)
    code = next((each for each in _dicts(config) if each.get("class_name") in CODE), None)
    if code is not None:
        raise ModelError(
            f"{path}: Keras cannot load it: it has a Lambda layer, which is Python code, and code in a file "
            f"is never run; build it with other layers (Rescaling for `x / 255`), or {EXPORT_IT}"
        )
    reader = next((each["class_name"] for each in _dicts(config) if each.get("class_name") in READERS), None)
    if reader is not None:
        raise ModelError(f"{path}: rejected: its layer `{reader}` may read other files or run other code")
    own = next((each["class_name"] for each in _dicts(config) if _is_custom(each)), None)
    if own is not None:
        raise ModelError(f"{path}: its layer `{own}` is not part of Keras, and {CODE_IS_MISSING}")
    if version.startswith(("0.", "1.", "2.")) and importlib.util.find_spec(KERAS_2):
        _check_names(path, config)
        return _loaded_by_keras_2(path, is_hdf5)
    try:
        with _named_by_content(path, is_hdf5) as named:
            return tf.keras.models.load_model(named, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - an untrusted file can cause any exception in Keras
        raise ModelError(f"{path}: Keras cannot load it: {_why(error, version)}") from None


@contextlib.contextmanager
def _named_by_content(path: Path, is_hdf5: bool) -> Iterator[str]:
    """Yield a path for the file whose suffix matches its content: Keras relies on the name alone."""
    suffixes = (".h5", ".hdf5") if is_hdf5 else (".keras",)
    if path.name.endswith(suffixes):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"{path.stem}{suffixes[0]}"
        link.symlink_to(path.absolute())
        yield str(link)


def _loaded_by_keras_2(path: Path, is_hdf5: bool) -> Any:
    import tf_keras

    try:
        with _named_by_content(path, is_hdf5) as named:
            return tf_keras.models.load_model(named, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - an untrusted file can cause any exception in Keras
        raise ModelError(f"{path}: Keras cannot load it: {_why(error, '')}") from None


def _why(error: Exception, version: str) -> str:
    message = one_line(error)
    if version.startswith(("0.", "1.", "2.")):
        release = ".".join(tf.__version__.split(".")[:2])
        return (
            f"it was saved with Keras {version}, which Keras {tf.keras.__version__} supports only partly; "
            f"install Keras 2: {sys.executable} -m pip install '{KERAS_2}=={release}.*' ({message})"
        )
    if "Could not locate" in message or "Unknown layer" in message:
        return f"{CODE_IS_MISSING} ({message})"
    return message


def _compute_in_full(model: Any) -> None:
    """Make layers with single-precision weights compute in single precision.

    Mixed precision is meant for training on GPUs; on a CPU, half precision takes many times as long.
    """
    for layer in getattr(model, "layers", ()):
        _compute_in_full(layer)
    if isinstance(model, tf.keras.layers.Layer) and model.variable_dtype == "float32":
        model.dtype_policy = "float32"


def _described_in_hdf5(path: Path) -> tuple[str, Any]:
    """Return the version of Keras and the network's configuration from an HDF5 file.

    :raises ModelError: it is damaged, or has weights only.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = _text(file.attrs.get("keras_version", ""))
            described = file.attrs.get("model_config")
            config = None if described is None else json.loads(_text(described))
    except (OSError, ValueError, RuntimeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path}: damaged: Keras cannot load it: {one_line(error)}") from None
    if config is None:
        raise ModelError(
            f"{path}: has weights only, without layers; save the whole model: model.save('NAME.keras')"
        )
    return version, config


def _described_in_zip(path: Path) -> tuple[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member.file_size for member in archive.infolist()}
            if max(members[KERAS_MEMBER], members.get(METADATA, 0)) > LARGEST_CONFIG:
                raise ModelError(f"{path}: its {KERAS_MEMBER} is larger than {LARGEST_CONFIG} bytes")
            config = json.loads(archive.read(KERAS_MEMBER))
            metadata = json.loads(archive.read(METADATA)) if METADATA in members else {}
    except DAMAGED_ZIP as error:
        raise ModelError(f"{path}: damaged: Keras cannot load it: {one_line(error)}") from None
    return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else "", config


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _dicts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in `config`."""
    waiting = [config]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _is_custom(described: dict[str, Any]) -> bool:
    """Return whether a JSON object describes a class registered with Keras by other code, which is not in the
    file."""
    return ">" in str(described.get("registered_name")) and isinstance(described.get("class_name"), str)


def _check_names(path: Path, config: Any) -> None:
    """Raise ModelError unless a file names only layers and their settings; Keras 2 looks up any name."""
    for each in _dicts(config):
        module, name = str(each.get("module") or ""), str(each.get("class_name"))
        package, *parts = module.replace(".src", "").split(".")
        is_class = package in ("keras", KERAS_2) and (not parts or parts[0] in MODULES) and name[:1].isupper()
        if module and not is_class:
            raise ModelError(f"{path}: rejected: it uses `{module}.{name}`, which is not a layer")
        called = each.get("class_name") in ("TFOpLambda", "SlicingOpLambda") and each.get("config", {})
        function = called.get("function", "") if isinstance(called, dict) else ""
        if function and not str(function).startswith(HARMLESS_FUNCTIONS):
            raise ModelError(f"{path}: rejected: it calls `tf.{function}`, which is not a layer")
