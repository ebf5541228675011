"""Know which stored networks return features, and note which have none."""

from __future__ import annotations

from pathlib import Path

from incv3d.engines.base import FEATURES
from incv3d.models.files import write_atomically

NONE = "no-features"
"""Lies beside a network that has no features that can be found, and holds its SHA-256."""
TAIL_BYTES = 1 << 16
"""The name of the output is within this distance of the end of a file."""


def returns_features(network: Path) -> bool:
    """Return whether a flatbuffer or an ONNX network has an output for features.

    :raises OSError: it cannot be read.
    """
    with network.open("rb") as file:
        file.seek(max(0, network.stat().st_size - TAIL_BYTES))
        return FEATURES.encode() in file.read()


def lacks_features(network: Path, sha256: str) -> bool:
    """Return whether a network has no output for features, and it is not known that it has no features."""
    try:
        return not returns_features(network) and network.with_name(NONE).read_text("ascii") != sha256
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError):
        return False  # opening the Session reports it


def note_none(network: Path, sha256: str) -> None:
    """Note that a network has no features, so that they are not looked for again.

    :raises OSError: the folder cannot be written.
    """
    write_atomically(network.with_name(NONE), sha256.encode())
