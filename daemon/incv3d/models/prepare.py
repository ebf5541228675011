"""Prepare models in the store for the lean Session, once."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

import msgspec

from incv3d.child_process import start_python
from incv3d.engines.base import SessionError
from incv3d.engines.prepared_model import ONEDNN, Index, Job, open_prepared, preparer_id, processor_id
from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically
from incv3d.models.store import ModelStore, StoredModel

LOG = logging.getLogger(__name__)
PREPARED = "prepared"
PREPARER = "incv3d.models.graph.prepare_graph"
COMPARER = "incv3d.models.graph.equivalence"
UNFORESEEN = 2
"""Pictures of noise that a stranger's prepared form is compared on besides."""
REFUSAL = "unprepared.json"
"""In a model's folder: why it cannot be prepared."""
UNPREPARABLE, UNRUNNABLE = 65, 66
"""Exit statuses of the preparer, for :class:`UnpreparableError` and :class:`UnrunnableError`."""
PREPARING_MB = 800
"""What preparing Inception-v3 takes."""
CHILD_TIMEOUT_S = 3600
"""A Raspberry Pi 3 needs minutes to import TensorFlow from a slow card, and more when it swaps."""


class ChildError(ModelError):
    """A child process failed."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnpreparableError(ModelError):
    """A model can never be prepared here; the plain Session may run it."""


class UnrunnableError(ModelError):
    """A model's own graph gives no scores for a picture, or the wrong number of them."""

    is_lasting = True


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a model cannot be prepared, and with what that was found: a change of these is worth a try."""

    source_sha256: str
    preparer: str
    processor: str
    reason: str


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
    """Whether there is a complete prepared form of this graph for this processor and this TensorFlow."""
    return _current_index(model) is not None


def ensure_prepared(model: StoredModel, store: ModelStore, progress: Callable[[str], None]) -> Path | None:
    """The folder of `model`'s prepared form, made now if it is not there or no longer current.

    :param progress: told, in one line, when it has to be made.
    :returns: None when it cannot be made; the log says why, and the plain Session has to do. None, too, for
        a flatbuffer, which needs no preparation.
    :raises UnrunnableError: when its own graph cannot classify a picture.
    """
    if model.entry.format != "graphdef":
        return None
    outcome = _outcome(model)
    if outcome:
        return _folder_of(model, outcome)
    progress(_announcement(model))
    try:
        with store.exclusively():
            return prepare_if_needed(model)
    except UnrunnableError:
        raise
    except ModelError as error:
        _warn(model, str(error))
        return None


def preparation_check(progress: Callable[[str], None]) -> Callable[[StoredModel], None]:
    """Return a check for :meth:`ModelStore.adding`: it prepares the model before that gets its name.

    :param progress: called with one line when the model has to be prepared.
    """

    def check(model: StoredModel) -> None:
        if model.entry.format == "graphdef" and _outcome(model) is None:
            progress(_announcement(model))
        prepare_if_needed(model)

    return check


def prepare_if_needed(model: StoredModel) -> Path | None:
    """Do what :func:`ensure_prepared` does, for a caller that holds the store's lock."""
    if model.entry.format != "graphdef":
        return None
    outcome = _outcome(model)
    if outcome is None:
        try:
            prepare_model(model, prepared_folder(model))
            outcome = _current_index(model)
        except UnpreparableError as error:
            outcome = _remember(model, str(error))
        except UnrunnableError:
            raise
        except ModelError as error:  # too little memory, say: another time there may be enough
            _warn(model, str(error))
            return None
    return _folder_of(model, outcome)


def _outcome(model: StoredModel) -> Index | Refusal | None:
    """Return the index of the prepared form, or why there is none; None: preparing has to be tried."""
    return _current_index(model) or find_refusal(model)


def _folder_of(model: StoredModel, outcome: Index | Refusal | None) -> Path | None:
    """Return the folder of the prepared form; log the reason and return None if it was refused."""
    if isinstance(outcome, Refusal):
        _warn(model, outcome.reason)
        return None
    if outcome and outcome.outputs != model.entry.scores_given:
        raise UnrunnableError(
            f"{model.name}: its graph gives {outcome.outputs} scores, it was imported as a network of "
            f"{model.entry.scores_given}"
        )
    return prepared_folder(model)


def _announcement(model: StoredModel) -> str:
    return f"preparing {model.name} (once; this imports TensorFlow, and takes minutes on a Raspberry Pi)"


def _current_index(model: StoredModel) -> Index | None:
    try:
        index = open_prepared(prepared_folder(model)).index
        current = (index.source_sha256, index.preparer) == (model.manifest.sha256, _preparer())
    except (SessionError, PackageNotFoundError):
        return None
    return index if current and (not index.processor or index.processor == processor_id()) else None


def find_refusal(model: StoredModel) -> Refusal | None:
    """Return why this TensorFlow cannot prepare this graph on this processor; None: it may be able to."""
    try:
        refusal = msgspec.json.decode((model.directory / REFUSAL).read_bytes(), type=Refusal)
        current = (model.manifest.sha256, _preparer(), processor_id())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, PackageNotFoundError):
        return None
    return refusal if (refusal.source_sha256, refusal.preparer, refusal.processor) == current else None


def _remember(model: StoredModel, reason: str) -> Refusal:
    refusal = Refusal(
        source_sha256=model.manifest.sha256, preparer=_preparer(), processor=processor_id(), reason=reason
    )
    try:
        write_atomically(model.directory / REFUSAL, msgspec.json.encode(refusal))
    except OSError as error:
        raise ModelError(
            f"{error.filename or model.directory}: cannot be written: {error.strerror}"
        ) from None
    return refusal


def _warn(model: StoredModel, reason: str) -> None:
    LOG.warning("%s could not be prepared: %s", model.name, reason)


def _preparer() -> str:
    return preparer_id(version("tensorflow"))


def prepare_model(model: StoredModel, out: Path, portable: bool = False) -> None:
    """Prepare `model` into the folder `out`, in a process of its own, and compare it with its original.

    :param portable: only with operations that TensorFlow has on every processor; oneDNN, which is on
        where the processor is new enough, knows some more.
    :raises UnpreparableError: when it cannot be prepared, or gives other scores then.
    :raises UnrunnableError: when its own graph cannot classify a picture.
    :raises ModelError: when it cannot be prepared this time.
    """
    job = _job(model, out, portable=portable)
    try:
        run_child(PREPARER, [msgspec.json.encode(job).decode()], {ONEDNN: "0"} if portable else {})
    except ChildError as error:
        kinds = {UNPREPARABLE: UnpreparableError, UNRUNNABLE: UnrunnableError}
        raise kinds.get(error.status, ModelError)(str(error)) from None


def compare_prepared(model: StoredModel) -> None:
    """Check that a prepared form that another machine has made gives the scores of the graph of `model`.

    They are compared on photographs, and on noise that its maker could not foresee.

    :raises UnpreparableError: it gives other scores than the graph.
    :raises ModelError: they cannot be compared.
    """
    seeds = tuple(int.from_bytes(os.urandom(4)) for _ in range(UNFORESEEN))
    job = _job(model, prepared_folder(model), seeds=seeds)
    try:
        run_child(COMPARER, [msgspec.json.encode(job).decode()])
    except ChildError as error:
        raise (UnpreparableError if error.status == UNPREPARABLE else ModelError)(str(error)) from None


def _job(model: StoredModel, out: Path, portable: bool = False, seeds: tuple[int, ...] = ()) -> Job:
    spec, entry = model.session_spec(threads=1), model.entry
    return Job(
        graph=str(spec.file),
        source_sha256=model.manifest.sha256,
        input=spec.input,
        input_shape=spec.input_shape,
        output=spec.output,
        out=str(out),
        jpeg_input=spec.jpeg_input,
        picture_input=spec.picture_input,
        layout=entry.layout,
        mean=entry.mean,
        scale=entry.scale,
        outputs=entry.scores_given,
        portable=portable,
        seeds=seeds,
    )


def run_child(
    module: str,
    arguments: Sequence[str],
    settings: Mapping[str, str] = MappingProxyType({}),
    heard: Callable[[str], None] = lambda line: None,
) -> None:
    """Run ``python -m MODULE`` to its end: TensorFlow's import must not stay in the daemon's memory.

    :param settings: environment variables, besides this process's own.
    :param heard: given every line that it writes to standard output.
    :raises ChildError: with the last line that it said, when it fails.
    :raises ModelError: when it takes too long.
    """
    with tempfile.TemporaryFile() as errors:
        child = start_python(["-m", module, *arguments], settings, stdout=subprocess.PIPE, stderr=errors)
        timer = threading.Timer(CHILD_TIMEOUT_S, child.kill)
        timer.start()
        try:
            assert child.stdout
            for line in child.stdout:
                heard(line.decode("utf-8", "replace").rstrip("\n"))
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
        raise ChildError(f"{module} was killed by signal {-status}; was there too little memory?", status)
    if status:
        raise ChildError(said[-1] if said else f"{module} ended with status {status}", status)
