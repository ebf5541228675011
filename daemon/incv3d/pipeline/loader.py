"""From a model's name to a warm :class:`Classifier`: the model, its labels, its Session, the warm-up."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.engines import SessionSpec, engine_for, open_session
from incv3d.engines.base import SessionFacts
from incv3d.engines.warmup import WarmUp, warm_up
from incv3d.images.preprocess import Mode, Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.machine import available_memory_mb, memory_limit_mb, spare_memory_mb
from incv3d.models.catalog import load_catalog, unused_custom
from incv3d.models.conversions import StoredConversion, converted_precisions, open_conversion
from incv3d.models.entry import ModelEntry, ModelError, for_a_person
from incv3d.models.labels import read_labels
from incv3d.models.leftovers import remove_leftovers
from incv3d.models.prepare import check_memory, ensure_prepared, prepare_if_needed
from incv3d.models.resolve import AUTO, CUSTOM, Resolution, resolve, to_be_fetched
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.golden_check import check_golden

LOG = logging.getLogger(__name__)
CACHES_FILTERS_FROM_MB = 2000
"""From so much memory on, the 110 MB that Inception-v3's filters take twice are not missed."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A classifier that is ready, and what is to be said of it."""

    classifier: Classifier
    model: str
    facts: SessionFacts
    warmup: WarmUp
    pixels: str = ""
    """What pixels become before they reach the network, and why, for people."""


class Loader(Protocol):
    """Makes the classifier; :func:`load_classifier` does."""

    def __call__(
        self, config: Config, store: ModelStore, warmup_runs: int, *, fetch: Callable[[str], None] | None
    ) -> LoadedModel:
        """From the configuration to a warm classifier, with a model that `fetch` may have to get."""


def load_classifier(
    config: Config,
    store: ModelStore,
    warmup_runs: int,
    progress: Callable[[str], None] = LOG.info,
    fetch: Callable[[str], None] | None = None,
) -> LoadedModel:
    """Find the model, open its Session and warm it.

    :param warmup_runs: at most so many runs; 0 for a cold Session.
    :param progress: told what is going on, in one line a step.
    :param fetch: called by ``auto`` to fetch a model; None: nothing is fetched.
    :raises ModelError: the model is not there, or damaged.
    :raises ConfigError: the engine that the configuration names cannot run it.
    :raises SessionError: the Session cannot be opened.
    """
    remove_leftovers(store)
    resolution = find_model(config, store, progress, fetch)
    progress(f"model {resolution.model.name}: {resolution.why}")
    return load_model(config, resolution.model, store, warmup_runs, progress)


def load_model(
    config: Config, model: StoredModel, store: ModelStore, warmup_runs: int, progress: Callable[[str], None]
) -> LoadedModel:
    """Open a Session of `model` on the engine that the configuration means, warm it and check its answer.

    :raises ModelError: the model is damaged, or not the one it should be.
    :raises ConfigError: the engine that the configuration names cannot run it.
    :raises SessionError: the Session cannot be opened.
    """
    check_engine(config.session.engine, model)
    golden = model.entry.golden
    conversion = choose_conversion(config.session.engine, model)
    if conversion:
        classifier = open_classifier(config, model, conversion.session_spec(model, threads_of(config)), None)
        golden = conversion.golden(golden)
    else:
        prepared = ensure_prepared(model, store, progress)
        classifier = open_classifier(config, model, spec_of(config, model), prepared)
    warmup = warm_up(classifier.session, model.session_spec(1).input_shape, warmup_runs)
    with for_a_person():
        check_golden(classifier, model, golden)
    return LoadedModel(classifier, model.name, classifier.session.facts, warmup, model.entry.pixels_in_words)


def find_model(
    config: Config,
    store: ModelStore,
    progress: Callable[[str], None],
    fetch: Callable[[str], None] | None = None,
) -> Resolution:
    """Return the model that the configuration means: the network that it describes, or a known one.

    :param fetch: called to fetch a known model that is not there; None: nothing is fetched.
    :raises ModelError: it is not there, or damaged.
    """
    if uses_custom(config):
        return _find_custom_model(config, store, progress)
    if unused := unused_custom(config):
        LOG.warning("%s", unused)
    name = config.model.name
    if fetch and to_be_fetched(name, store):
        fetch(name)
    return resolve(name, store, progress, fetch)


def _find_custom_model(config: Config, store: ModelStore, progress: Callable[[str], None]) -> Resolution:
    # Only here: most configurations describe no network, and importing what reads one takes time.
    from incv3d.models.custom import INTERPOLATION_REASONS, ensure_custom

    def check(model: StoredModel) -> None:
        check_engine(config.session.engine, model)
        if model.entry.golden:
            prepared = prepare_if_needed(model)
            with (
                contextlib.closing(
                    open_classifier(config, model, spec_of(config, model), prepared)
                ) as classifier,
                for_a_person(),
            ):
                check_golden(classifier, model, model.entry.golden)

    name = CUSTOM if config.model.name == AUTO else config.model.name
    model = ensure_custom(config.custom, name, store, progress, check)
    progress(f"pixels: {model.entry.pixels_in_words}")
    if model.entry.binary:
        progress("output: one score, taken as that of the second label; the first gets the rest")
    if model.entry.caution:
        LOG.warning("model %s: %s", model.name, model.entry.caution)
    if config.custom.interpolation == "auto":
        taken = model.entry.interpolation
        reason = INTERPOLATION_REASONS[taken]
        progress(f"interpolation: {taken} taken, because {reason}; custom.interpolation names another")
    return Resolution(model, "described in the configuration (custom.file)")


def uses_custom(config: Config) -> bool:
    """Return whether the model is the network that the section ``custom`` describes."""
    return bool(config.custom.file) and config.model.name not in load_catalog()


def model_fetcher(
    config: Config, store: ModelStore, progress: Callable[[str], None]
) -> Callable[[str], None] | None:
    """What :func:`find_model` fetches a model with; None: the configuration has nothing fetched.

    It raises ModelError when the model cannot be had, or there is no memory to prepare it.
    """
    wait_s = config.model.fetch_wait_s
    if not wait_s:
        return None

    def fetch(name: str) -> None:
        check_memory(available_memory_mb())
        # Only here, because it imports an HTTP client, whose memory a daemon that has its model saves.
        from incv3d.models.fetch.fetch import fetch_in_time

        fetch_in_time(store, name, wait_s, progress)

    return fetch


def open_classifier(
    config: Config, model: StoredModel, spec: SessionSpec, prepared: Path | None
) -> Classifier:
    """A classifier over a cold Session of `model`.

    :param spec: of the model's own network, or of a conversion of it.
    :param prepared: the folder of a frozen graph's prepared form; None: it could not be prepared.
    :raises ModelError: its labels are damaged.
    :raises SessionError: the Session cannot be opened.
    """
    with for_a_person():
        labels = read_labels(model.labels, model.entry.outputs)
    mode = preprocessing(config.session.preprocess, spec)
    preprocessor = Preprocessor(input_spec(model.entry), config.intake.max_pixels, mode)
    session = open_session(spec, prepared, partial(spare_memory_mb, config.daemon.memory_limit_mb))
    return Classifier(
        preprocessor,
        session,
        labels,
        config.model.top_k,
        logits=model.entry.scores == "logits",
        binary=model.entry.binary,
        # On one core there are no gaps to fill: a second run would only make the first come later.
        overlap=config.session.overlap_runs and available_cores() > 1,
    )


def check_engine(asked: str, model: StoredModel) -> None:
    """Raise ConfigError if `asked`, the engine that the configuration names, can never run `model`."""
    if asked == "tensorflow" and engine_for(model.entry.format).name != "tensorflow":
        raise ConfigError(
            f"session.engine: tensorflow runs frozen graphs, `{model.name}` is a .tflite model and needs "
            f"litert (`auto` takes it)"
        )


def choose_conversion(asked: str, model: StoredModel) -> StoredConversion | None:
    """The conversion of `model` that is to be run instead of its graph; the log says which and why.

    Of several the best: int8, then float32. One that is damaged is passed over.

    :param asked: the engine that the configuration names; ``litert`` must have one, ``auto`` may.
    :returns: None when the model's own network is to be run.
    :raises ConfigError: when there must be one and is none.
    """
    if asked == "tensorflow" or model.entry.format != "graphdef":
        return None
    for precision in converted_precisions(model.directory):
        try:
            found = open_conversion(model, precision)
        except ModelError as error:
            LOG.warning("%s", error)
            continue
        agreement = found.facts.comparison.top1_agreement
        LOG.info(
            "engine litert: a conversion to %s is in the store, top-1 agreement %.1f %%",
            precision,
            agreement * 100,
        )
        return found
    if asked == "litert":
        raise not_converted(model)
    return None


def not_converted(model: StoredModel) -> ConfigError:
    """Return what to raise when LiteRT is to run a frozen graph that was not converted."""
    return ConfigError(
        f"session.engine: litert needs {model.name} converted, which it is not: "
        f"incv3d model convert {model.name} --to int8 --pictures FOLDER (or `auto`)"
    )


def spec_of(config: Config, model: StoredModel) -> SessionSpec:
    """What a Session of the model's own network is opened with."""
    caches = should_cache_filters(config.session.cache_filters, memory_limit_mb())
    return replace(model.session_spec(threads_of(config)), cache_filters=caches)


def should_cache_filters(asked: bool | Literal["auto"], limit_mb: float | None) -> bool:
    """Whether memory for a second copy of the filters is to be spent on shorter runs.

    :param limit_mb: what this process may have; None: it cannot be told.
    """
    if asked == "auto":
        return limit_mb is not None and limit_mb >= CACHES_FILTERS_FROM_MB
    return asked


def threads_of(config: Config) -> int:
    """Cores that one run may use."""
    return config.session.threads or available_cores()


def preprocessing(asked: Literal["fast", "exact"], spec: SessionSpec) -> Mode:
    """How frames are brought to the model: `exact` leaves it to the graph, where that can do it by itself."""
    in_graph = spec.format == "graphdef" and spec.jpeg_input
    return "graph" if asked == "exact" and in_graph else asked


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
        entry.channels,
        entry.resize_to,
    )


def available_cores() -> int:
    """The cores that this process may run on; a CPU mask can make them fewer than there are."""
    return len(os.sched_getaffinity(0))


def open_store(config: Config, state: Path) -> ModelStore:
    """The model store: where the configuration says, else in the state directory."""
    return ModelStore(Path(config.model.store) if config.model.store else state)
