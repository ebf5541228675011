"""Remember, with a model, how often the daemon has tried to convert it by itself, and with what result.

Each try is recorded before it begins: one that takes the whole machine down counts, too.
"""

from __future__ import annotations

import contextlib
import time

import msgspec

import incv3d
from incv3d.clock import timestamp
from incv3d.models.files import write_atomically
from incv3d.models.flatbuffer.quantise import quantiser_name
from incv3d.models.store import ModelStore, StoredModel

FILE = "tuning.json"
UNFINISHED = "it did not end: the daemon or the machine stopped"


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion that the daemon began."""

    at: str
    frames: int
    problem: str
    """Why it was not kept, empty if it was; until its end is known, :data:`UNFINISHED`."""


class _Tries(msgspec.Struct, frozen=True, kw_only=True):
    """All tries with one graph and one version of the programs; with others they do not count."""

    source_sha256: str
    converter: str
    tries: tuple[Try, ...]


def read_tries(model: StoredModel) -> tuple[Try, ...]:
    """Return the tries so far, oldest first; a damaged record counts as none."""
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        found = msgspec.json.decode((model.directory / FILE).read_bytes(), type=_Tries)
        if (found.source_sha256, found.converter) == (model.manifest.sha256, _converter()):
            return found.tries
    return ()


def begin_try(store: ModelStore, model: StoredModel, frames: int) -> None:
    """Record a try that begins now.

    :raises ModelError: the store cannot be written.
    """
    begun = Try(at=timestamp(time.time()), frames=frames, problem=UNFINISHED)
    _write(store, model, (*read_tries(model), begun))


def end_try(store: ModelStore, model: StoredModel, problem: str) -> None:
    """Record why the last try was not kept; with an empty `problem`, that it was.

    :raises ModelError: the store cannot be written.
    """
    *before, last = read_tries(model)
    _write(store, model, (*before, msgspec.structs.replace(last, problem=problem)))


def _write(store: ModelStore, model: StoredModel, tries: tuple[Try, ...]) -> None:
    record = _Tries(source_sha256=model.manifest.sha256, converter=_converter(), tries=tries)
    with store.exclusively():
        write_atomically(model.directory / FILE, msgspec.json.encode(record) + b"\n")


def _converter() -> str:
    return f"incv3d-{incv3d.__version__} {quantiser_name()}"
