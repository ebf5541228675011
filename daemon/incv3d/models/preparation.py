"""See to it that a model in the store is prepared for the lean Session."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

import msgspec

from incv3d.models.entry import ModelError
from incv3d.models.store import ModelStore, StoredModel
from incv3d.sessions.base import SessionError
from incv3d.sessions.prepared import Job, open_prepared, preparer_id

LOG = logging.getLogger(__name__)
PREPARED = "prepared"
PREPARER = "incv3d.models.prepare"
PREPARING_MB = 800
"""What preparing Inception-v3 takes."""
CHILD_TIMEOUT_S = 3600
"""A Raspberry Pi 3 needs minutes to import TensorFlow from a slow card, and more when it swaps."""


def check_memory(spare_mb: float | None) -> None:
    """Raise ModelError unless preparing Inception-v3 will find the memory that it takes.

    :param spare_mb: what is free, swap included; None: it cannot be told, and may be tried.
    """
    if spare_mb is not None and spare_mb < PREPARING_MB:
        raise ModelError(
            f"preparing it takes {PREPARING_MB} MB, {spare_mb:.0f} MB are free; "
            f"let a larger machine do it (incv3d model export)"
        )


def prepared_folder(model: StoredModel) -> Path:
    """Where a model's prepared form lies."""
    return model.directory / PREPARED


def is_prepared(model: StoredModel) -> bool:
    """Whether the prepared form is there, whole, of this graph, and of the installed TensorFlow."""
    try:
        index = open_prepared(prepared_folder(model)).index
        return (index.source_sha256, index.preparer) == (
            model.manifest.sha256,
            preparer_id(version("tensorflow")),
        )
    except (SessionError, PackageNotFoundError):
        return False


def ensure_prepared(model: StoredModel, store: ModelStore, progress: Callable[[str], None]) -> Path | None:
    """The folder of `model`'s prepared form, made now if it is not there or no longer current.

    :param progress: told, in one line, when it has to be made.
    :returns: None when it cannot be made; the log says why, and the plain Session has to do. None, too, for
        a flatbuffer, which needs no preparation.
    """
    if model.entry.format != "graphdef":
        return None
    folder = prepared_folder(model)
    if is_prepared(model):
        return folder
    progress(f"preparing {model.name} (once; this imports TensorFlow, and takes minutes on a Raspberry Pi)")
    try:
        with store.exclusively():
            if not is_prepared(model):
                prepare_model(model, folder)
    except ModelError as error:
        LOG.warning("%s could not be prepared: %s", model.name, error)
        return None
    return folder


def prepare_model(model: StoredModel, out: Path, portable: bool = False) -> None:
    """Prepare `model` into the folder `out`, in a process of its own.

    :param portable: only with operations that TensorFlow has on every processor; oneDNN, which is on
        where the processor is new enough, knows some more.
    :raises ModelError: when it cannot be prepared.
    """
    spec = model.session_spec(threads=1)
    job = Job(
        graph=str(spec.file),
        source_sha256=model.manifest.sha256,
        input=spec.input,
        input_shape=spec.input_shape,
        output=spec.output,
        out=str(out),
        jpeg_input=spec.jpeg_input,
        picture_input=spec.picture_input,
    )
    settings = {"TF_ENABLE_ONEDNN_OPTS": "0"} if portable else {}
    run_child(PREPARER, [msgspec.json.encode(job).decode()], settings)


def run_child(
    module: str,
    arguments: Sequence[str],
    settings: Mapping[str, str] = MappingProxyType({}),
    heard: Callable[[str], None] = lambda line: None,
) -> None:
    """Run ``python -m MODULE`` to its end: TensorFlow's import must not stay in the daemon's memory.

    :param settings: environment variables, besides this process's own.
    :param heard: given every line that it writes to standard output.
    :raises ModelError: with the last line that it said, when it fails or takes too long.
    """
    environ = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **settings,
    }
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
        )
        timer = threading.Timer(CHILD_TIMEOUT_S, child.kill)
        timer.start()
        try:
            assert child.stdout
            for line in child.stdout:
                heard(line.rstrip("\n"))
            status = child.wait()
        finally:
            late = timer.finished.is_set()
            timer.cancel()
            with child:
                child.kill()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    if late:
        raise ModelError(f"{module} took more than {CHILD_TIMEOUT_S} s")
    if status < 0:  # the kernel's killer of processes, most likely
        raise ModelError(f"{module} was killed by signal {-status}; was there too little memory?")
    if status:
        raise ModelError(said[-1] if said else f"{module} ended with status {status}")
