"""Detect the format of a network's file by its content, not its name."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Literal

from incv3d.engines.base import ModelFormat
from incv3d.models.entry import ModelError
from incv3d.models.graph.graphdef_reader import read_nodes
from incv3d.models.onnx_file import looks_like_onnx

Kind = Literal["graphdef", "savedmodel", "keras", "tflite", "onnx"]

SAVED_MODEL = "saved_model.pb"
KERAS_MEMBER = "config.json"
"""The member of a ``.keras`` file, a zip archive, that describes the network's layers."""
ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
FLATBUFFER = b"TFL3"
"""The identifier of LiteRT's flatbuffers, at byte 4 (tensorflow/compiler/mlir/lite/schema/schema.fbs)."""
NO_NETWORKS = {
    b"<": "a web page, probably an error page saved in place of the file; download it again",
    b"version https://": "a Git LFS pointer; git lfs pull fetches the network itself",
}
"""Files that a failed download leaves in place of a network, by their first bytes."""
TORCH_HINT = "it is a PyTorch file; export it where it was made: torch.onnx.export(model, image, 'NAME.onnx')"
HINTS = {
    (".pt", ".pth", ".ckpt", ".bin"): "a checkpoint holds weights only; export the whole network",
    (".onnx",): "is the file whole?",
    (".ort",): "ONNX Runtime's own format depends on its version; use the .onnx",
    (".pbtxt",): "text graphs are not supported; write it with as_text=False",
    (
        ".json",
        ".yaml",
    ): "layers without weights; save the whole model: model.save('NAME.keras')",
    (".hdf5", ".h5", ".keras", ".tflite", ".zip", ".pb"): "is the file whole?",
}
"""Files that users mistake for networks, by suffix, with advice."""
NETWORK_ENDS = (".tflite", ".h5", ".keras", ".pb", ".onnx")
DAMAGED_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
)  # fmt: skip
"""The exceptions that :mod:`zipfile` raises for a damaged or encrypted archive, or an unknown compression."""
LARGEST_UNPACKED = 2 << 30
MOST_MEMBERS = 10_000


def kind_of(path: Path) -> Kind:
    """Return the format of the network in the file or folder at `path`.

    :raises ModelError: the file cannot be read, or is not a network.
    """
    if path.is_dir():
        if not (path / SAVED_MODEL).is_file():
            raise ModelError(f"{path}: not a SavedModel: the folder has no {SAVED_MODEL}")
        return "savedmodel"
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if path.name == SAVED_MODEL:
        raise ModelError(f"{path}: part of a SavedModel; name its folder, {path.parent}")
    if head[4:8] == FLATBUFFER:
        return "tflite"
    if head.startswith(HDF5):
        return "keras"
    if head.startswith(ZIP):
        _check_keras(path)
        return "keras"
    for start, what in NO_NETWORKS.items():
        if head.lstrip().startswith(start):
            raise ModelError(f"{path}: not a network, but {what}")
    if looks_like_onnx(path):
        return "onnx"
    try:
        read_nodes(path)
    except ModelError as error:
        raise ModelError(f"{error}{_hint(path)}") from None
    return "graphdef"


def format_of(kind: Kind) -> ModelFormat:
    """Return the format in which a network of this kind is stored."""
    return kind if kind == "tflite" or kind == "onnx" else "graphdef"


def _hint(path: Path) -> str:
    """Return a guess at a file that is not a network, by its name alone, with advice."""
    suffix = path.suffix.lower()
    found = next((hint for suffixes, hint in HINTS.items() if suffix in suffixes), "")
    return f"; {found}" if found else ""


def _check_keras(path: Path) -> None:
    """Raise ModelError unless the zip archive is a Keras model of acceptable size."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except DAMAGED_ZIP as error:
        raise ModelError(f"{path}: a damaged zip archive: {error}") from None
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > LARGEST_UNPACKED:
        raise ModelError(f"{path}: rejected: unpacks to more than a model's limit")
    names = [member.filename for member in members]
    if KERAS_MEMBER in names:
        return
    inside = next((name for name in names if name.endswith(NETWORK_ENDS)), "")
    if inside:
        raise ModelError(f"{path}: a zip archive that contains `{inside}`; unpack it and use that")
    hint = f"; {TORCH_HINT}" if any(name.endswith("data.pkl") for name in names) else ""
    raise ModelError(f"{path}: a zip archive, but not a Keras model: it has no {KERAS_MEMBER}{hint}")
