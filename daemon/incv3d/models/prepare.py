"""Prepare models in the store for fast start and low memory, once per model."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import msgspec

from incv3d.child_process import bound_words, start_python
from incv3d.engines.base import SessionError
from incv3d.engines.prepared_model import ONEDNN, Index, Job, open_prepared, preparer_id, processor_id
from incv3d.errors import not_installed
from incv3d.machine import processor_ticks
from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically
from incv3d.models.store import ModelStore, StoredModel

LOG = logging.getLogger(__name__)
PREPARED = "prepared"
PREPARER = "incv3d.models.graph.prepare_graph"
COMPARER = "incv3d.models.graph.equivalence"
UNFORESEEN = 2
"""Number of additional noise images for comparing a prepared form from another machine."""
REFUSAL = "unprepared.json"
"""The file in a model's folder that records why it cannot be prepared."""
UNPREPARABLE, UNRUNNABLE = 65, 66
"""Exit statuses of the preparer for :class:`UnpreparableError` and :class:`UnrunnableError`."""
PREPARING_MB = 800
"""Memory needed to prepare Inception-v3."""
MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '(tensorflow|tf_keras|tf2onnx)\b")
"""The end of the output of a child process that imports a package of an optional installation."""
CHILD_TIMEOUT_S = 3600.0
"""A Raspberry Pi 3 needs minutes to import TensorFlow from a slow SD card, and more when it swaps."""
STALLED_S = 300.0
"""A child that has used no processor time for so long hangs: it gets some even at idle priority, and when the
machine swaps. It may wait for the store's lock while another process imports a model."""
LOOK_S = 5.0
"""Between two looks at a child."""


class ChildError(ModelError):
    """A child process failed."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnpreparableError(ModelError):
    """The model cannot be prepared on this machine; the plain Session may run it."""


class UnrunnableError(ModelError):
    """The model's own graph returns no scores for an image, or the wrong number of them."""

    is_lasting = True


class PreparationFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why a model cannot be prepared, and the versions for which that holds; with others it is
    retried."""

    source_sha256: str
    preparer: str
    processor: str
    reason: str


def check_memory(spare_mb: float | None) -> None:
    """Raise ModelError if there is not enough memory to prepare Inception-v3.

    :param spare_mb: free memory including swap; None: unknown, so the attempt is allowed.
    """
    if spare_mb is not None and spare_mb < PREPARING_MB:
        raise ModelError(
            f"preparing it takes {PREPARING_MB} MB, but only {spare_mb:.0f} MB are free; "
            f"prepare it on a larger machine (incv3d model export)"
        )


def prepared_folder(model: StoredModel) -> Path:
    """Return the folder of a model's prepared form."""
    return model.directory / PREPARED


def is_prepared(model: StoredModel) -> bool:
    """Return whether there is a complete prepared form for this graph, processor and TensorFlow."""
    return _current_index(model) is not None


def ensure_prepared(model: StoredModel, store: ModelStore, progress: Callable[[str], None]) -> Path | None:
    """Return the folder of `model`'s prepared form; prepare the model if that is missing or outdated.

    :param progress: called with one line if the model must be prepared.
    :returns: None if it cannot be prepared; the reason is logged, and the plain Session runs it. Also None
        for a flatbuffer, which needs no preparation.
    :raises UnrunnableError: the model's own graph cannot classify an image.
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
    """Return a check for :meth:`ModelStore.adding` that prepares the model before it gets its name.

    :param progress: called with one line if the model must be prepared.
    """

    def check(model: StoredModel) -> None:
        if model.entry.format == "graphdef" and _outcome(model) is None:
            progress(_announcement(model))
        prepare_if_needed(model)

    return check


def prepare_if_needed(model: StoredModel) -> Path | None:
    """Prepare like :func:`ensure_prepared`, for a caller that holds the store's lock."""
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
        except ModelError as error:  # too little memory, for example: another attempt may succeed
            _warn(model, str(error))
            return None
    return _folder_of(model, outcome)


def _outcome(model: StoredModel) -> Index | PreparationFailure | None:
    """Return the index of the prepared form, or why there is none; None: preparation was not tried yet."""
    return _current_index(model) or find_preparation_failure(model)


def _folder_of(model: StoredModel, outcome: Index | PreparationFailure | None) -> Path | None:
    """Return the folder of the prepared form, or log the reason and return None if there is none."""
    if isinstance(outcome, PreparationFailure):
        _warn(model, outcome.reason)
        return None
    if outcome and outcome.outputs != model.entry.scores_given:
        raise UnrunnableError(
            f"{model.name}: its graph returns {outcome.outputs} scores, but it was imported as a network "
            f"with {model.entry.scores_given}"
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


def find_preparation_failure(model: StoredModel) -> PreparationFailure | None:
    """Return why this TensorFlow cannot prepare this graph on this processor; None: it may be able to."""
    try:
        refusal = msgspec.json.decode((model.directory / REFUSAL).read_bytes(), type=PreparationFailure)
        current = (model.manifest.sha256, _preparer(), processor_id())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, PackageNotFoundError):
        return None
    return refusal if (refusal.source_sha256, refusal.preparer, refusal.processor) == current else None


def _remember(model: StoredModel, reason: str) -> PreparationFailure:
    refusal = PreparationFailure(
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
    """Prepare `model` into the folder `out` in a child process, and compare the result with the original.

    :param portable: use only operations that TensorFlow supports on every processor; oneDNN, which is enabled
        on newer processors, adds others.
    :raises UnpreparableError: it cannot be prepared, or its scores differ then.
    :raises UnrunnableError: the model's own graph cannot classify an image.
    :raises ModelError: preparation failed this time, or TensorFlow is not installed.
    """
    require_tensorflow()
    job = _job(model, out, portable=portable)
    try:
        run_child(PREPARER, [msgspec.json.encode(job).decode()], {ONEDNN: "0"} if portable else {})
    except ChildError as error:
        kinds = {UNPREPARABLE: UnpreparableError, UNRUNNABLE: UnrunnableError}
        raise kinds.get(error.status, ModelError)(str(error)) from None


def compare_prepared(model: StoredModel) -> None:
    """Check that a prepared form from another machine returns the scores of `model`'s graph.

    Compares them on photographs, and on noise that its maker could not foresee.

    :raises UnpreparableError: the scores differ.
    :raises ModelError: they cannot be compared, because TensorFlow is not installed for example.
    """
    require_tensorflow()
    seeds = tuple(int.from_bytes(os.urandom(4)) for _ in range(UNFORESEEN))
    job = _job(model, prepared_folder(model), seeds=seeds)
    try:
        run_child(COMPARER, [msgspec.json.encode(job).decode()])
    except ChildError as error:
        raise (UnpreparableError if error.status == UNPREPARABLE else ModelError)(str(error)) from None


def require_tensorflow() -> None:
    """Raise ModelError if TensorFlow is not installed."""
    if find_spec("tensorflow") is None:
        raise ModelError(not_installed("tensorflow"))


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
        image_input=spec.image_input,
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
    started: Callable[[Callable[[], None]], None] = lambda stop: None,
) -> None:
    """Run ``python -m MODULE`` until it ends, so that TensorFlow does not stay in the daemon's memory.

    :param settings: environment variables to add to this process's own.
    :param heard: called with every line of its standard output.
    :param started: called with a function that sends the child SIGTERM, for another thread.
    :raises ChildError: it failed; the message is the last line of its output.
    :raises ModelError: it hung, or took too long.
    """
    ended, late = threading.Event(), []
    with tempfile.TemporaryFile() as errors:
        child = start_python(bound_words(module, *arguments), settings, stdout=subprocess.PIPE, stderr=errors)
        guard = threading.Thread(target=lambda: late.append(_end_if_late(child, ended)))
        guard.start()
        try:
            started(child.terminate)
            assert child.stdout
            for line in child.stdout:
                heard(line.decode("utf-8", "replace").rstrip("\n"))
            status = child.wait()
        finally:
            ended.set()
            guard.join()
            with child:
                child.kill()
        errors.seek(0)
        output = errors.read().decode("utf-8", "replace").strip().splitlines()
    if late[0]:
        raise ModelError(f"{module} {late[0]}")
    if status < 0:  # most likely by the kernel's OOM killer
        raise ChildError(
            f"{module} was killed by signal {-status}; perhaps the machine ran out of memory", status
        )
    if status:
        message = output[-1] if output else f"{module} ended with status {status}"
        if missing := MISSING_MODULE.match(message):
            message = not_installed(missing[1])
        raise ChildError(message, status)


def _end_if_late(child: subprocess.Popen[bytes], ended: threading.Event) -> str:
    """Kill a child that hangs or takes too long; return what it did, or nothing if it ended in time."""
    used, since = -1, time.monotonic()
    deadline = since + CHILD_TIMEOUT_S
    while not ended.wait(LOOK_S):
        now = time.monotonic()
        before, used = used, processor_ticks(child.pid)
        since = now if used != before else since
        if now >= min(since + STALLED_S, deadline):
            child.kill()
            if now >= deadline:
                return f"took more than {CHILD_TIMEOUT_S:.0f} s"
            return f"hung: it used no processor time for {STALLED_S:.0f} s"
    return ""
