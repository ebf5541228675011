"""Remove leftovers of killed processes from a model store; each can be as large as a model."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from incv3d.models.entry import ModelError
from incv3d.models.features import SCRATCH as MARKING
from incv3d.models.files import hold_lock
from incv3d.models.flatbuffer.float32 import SCRATCH
from incv3d.models.names import UNFINISHED
from incv3d.models.store import ModelStore


def remove_leftovers(store: ModelStore) -> None:
    """Remove all leftovers, except those whose lock is held by a process that still works on them.

    The search takes about a millisecond. Nothing is written unless there are leftovers, and a read-only store
    is left unchanged.
    """
    models = store.root / "models"
    for lock, leftovers in _leftovers(store.root, models, store.names()).items():
        if leftovers:
            with contextlib.suppress(ModelError, OSError), hold_lock(models / lock, wait=False):
                for left in leftovers:
                    _remove(left)


def _leftovers(root: Path, models: Path, names: list[str]) -> dict[str, list[Path]]:
    """Return possible leftovers by the lock that their makers hold."""
    return {
        ".lock": [*models.glob(f"{UNFINISHED}*")],
        # Prepared forms, networks being frozen, packed weights and small files being written.
        ".making": [
            *(left for name in names for left in (models / name).glob(".*")),
            *(left for name in names for left in (models / name).glob("*/.*")),
            *root.glob(".custom-*"),
            *root.glob(".*.json-*"),
        ],
        ".converting": [*root.glob(".converting")],
        **{f".{name}": [*root.glob(f".{name}")] for name in (SCRATCH, MARKING)},
    }


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
