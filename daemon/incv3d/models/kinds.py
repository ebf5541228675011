"""Which kind of file a network is in: told by its content, never by its name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from incv3d.models.entry import ModelError
from incv3d.models.graphdef import read_nodes

Kind = Literal["graphdef", "savedmodel", "keras", "tflite"]

SAVED_MODEL = "saved_model.pb"
KERAS_MEMBER = "config.json"
"""In the zip archive that is a ``.keras`` file, the network's layers."""
ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
FLATBUFFER = b"TFL3"
"""The identifier of LiteRT's flatbuffers, at byte 4 (tensorflow/compiler/mlir/lite/schema/schema.fbs)."""
LARGEST_UNPACKED = 2 << 30
MOST_MEMBERS = 10_000


def kind_of(path: Path) -> Kind:
    """What kind of network is in the file or folder at `path`.

    :raises ModelError: when it cannot be read, or is none.
    """
    if path.is_dir():
        if not (path / SAVED_MODEL).is_file():
            raise ModelError(f"{path}: a folder without {SAVED_MODEL}, so no SavedModel")
        return "savedmodel"
    try:
        with path.open("rb") as file:
            head = file.read(16)
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
    read_nodes(path)
    return "graphdef"


def _check_keras(path: Path) -> None:
    """Raise ModelError unless the zip archive is a Keras model of a sane size."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: a damaged zip archive: {error}") from None
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > LARGEST_UNPACKED:
        raise ModelError(f"{path}: unpacks to more than a model can be; refused")
    if KERAS_MEMBER not in (member.filename for member in members):
        raise ModelError(f"{path}: a zip archive, but no Keras model: there is no {KERAS_MEMBER} in it")
