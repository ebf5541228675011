"""From a model's name to a warm :class:`Classifier`: the model, its labels, its Session, the warm-up."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from incv3d.classifier import Classifier
from incv3d.config import Config
from incv3d.models.entry import ModelEntry
from incv3d.models.labels import read_labels
from incv3d.models.preparation import ensure_prepared
from incv3d.models.resolve import resolve
from incv3d.models.store import ModelStore
from incv3d.preprocess import InputSpec, Preprocessor
from incv3d.sessions import open_session
from incv3d.sessions.base import SessionFacts
from incv3d.sessions.warmup import WarmUp, warm_up

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A classifier that is ready, and what is to be said of it."""

    classifier: Classifier
    model: str
    facts: SessionFacts
    warmup: WarmUp


def load_classifier(
    config: Config, store: ModelStore, warmup_runs: int, progress: Callable[[str], None] = LOG.info
) -> Loaded:
    """Find the model, open its Session and warm it.

    :param warmup_runs: at most so many runs; 0 for a cold Session.
    :param progress: told what is going on, in one line a step.
    :raises ModelError: the model is not there, or damaged.
    :raises SessionError: the Session cannot be opened.
    """
    resolution = resolve(config.model.name, store, progress)
    model = resolution.model
    progress(f"model {model.name}: {resolution.why}")
    labels = read_labels(model.labels, model.entry.outputs)
    spec = model.session_spec(config.session.threads or available_cores())
    session = open_session(spec, ensure_prepared(model, store, progress))
    warmup = warm_up(session, spec.height, spec.width, warmup_runs)
    preprocessor = Preprocessor(input_spec(model.entry), config.intake.max_pixels)
    classifier = Classifier(preprocessor, session, labels, config.model.top_k)
    return Loaded(classifier, model.name, session.facts, warmup)


def input_spec(entry: ModelEntry) -> InputSpec:
    """The part of a model's entry that preprocessing needs."""
    return InputSpec(
        entry.height,
        entry.width,
        entry.mean,
        entry.scale,
        entry.fit,
        entry.crop_fraction,
        entry.interpolation,
        entry.channel_order,
        entry.layout,
    )


def available_cores() -> int:
    """The cores that this process may run on; a CPU mask can make them fewer than there are."""
    return len(os.sched_getaffinity(0))


def open_store(config: Config, state: Path) -> ModelStore:
    """The model store: where the configuration says, else in the state directory."""
    return ModelStore(Path(config.model.store) if config.model.store else state)
