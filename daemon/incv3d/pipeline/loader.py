"""Load a model by name and return a warm :class:`Classifier`."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.engines import SessionError, SessionSpec, engine_for, engine_of, open_session
from incv3d.engines.base import SessionFacts
from incv3d.engines.warmup import WarmUp, warm_up
from incv3d.errors import pip_install
from incv3d.images.preprocess import Preprocessor
from incv3d.machine import available_memory_mb, spare_memory_mb
from incv3d.models.catalog import load_catalog, unused_custom
from incv3d.models.conversions import StoredConversion, converted_precisions, open_conversion
from incv3d.models.entry import ModelError, mark_lasting
from incv3d.models.feature_search import with_features
from incv3d.models.flatbuffer.float32 import UnsupportedGraph, add_float32, ensure_float32
from incv3d.models.labels import read_labels
from incv3d.models.leftovers import remove_leftovers
from incv3d.models.packed_weights import ensure_ready
from incv3d.models.prepare import check_memory, prepare_if_needed
from incv3d.models.readiness import is_usable, needs_conversion
from incv3d.models.resolve import AUTO, CUSTOM, Resolution, needs_fetch, resolve
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.engine_choice import choose_fastest
from incv3d.pipeline.engine_library import require_library
from incv3d.pipeline.feature_outputs import make_features_outputs
from incv3d.pipeline.golden_check import check_golden
from incv3d.pipeline.session_spec import available_cores, input_spec, preprocessing, spec_of, threads_of
from incv3d.pipeline.taught import TaughtModels, find_taught, make_variants, naming_base
from incv3d.pipeline.variants import LabelSet, Variants

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A warm classifier, with the facts to report about it."""

    classifier: Classifier
    model: str
    facts: SessionFacts
    warmup: WarmUp
    pixels: str = ""
    """The conversion of pixels to network input and its reason, for people."""
    base: str = ""
    """The name of the model whose network runs; that of `model`, unless it is a taught one."""
    base_sha256: str = ""
    """Checksum of that network."""
    taught: TaughtModels | None = None
    """The taught models whose heads run on the Session."""
    variants: Variants | None = None
    """How frames are classified once this takes over; None: as the classifier does already."""

    @property
    def labels(self) -> LabelSet:
        """All labels that predictions can have."""
        return (self.variants or self.classifier.variants).labels

    def take_over(self) -> None:
        """Classify frames as this says, from the next one on."""
        if self.variants:
            self.classifier.variants = self.variants


class Loader(Protocol):
    """Loads a classifier. Implemented by :func:`load_classifier`."""

    def __call__(
        self, config: Config, store: ModelStore, warmup_runs: int, *, fetch: Callable[[str], None] | None
    ) -> LoadedModel:
        """Return a warm classifier for the configuration; `fetch` may fetch its model."""


def load_classifier(
    config: Config,
    store: ModelStore,
    warmup_runs: int,
    progress: Callable[[str], None] = LOG.info,
    fetch: Callable[[str], None] | None = None,
) -> LoadedModel:
    """Find the model, open its Session and warm it up.

    :param warmup_runs: maximum number of warm-up runs; 0 leaves the Session cold.
    :param progress: called with one line per step.
    :param fetch: called to fetch a known model; None: fetch nothing.
    :raises ModelError: the model is missing or damaged.
    :raises ConfigError: the configured engine cannot run it.
    :raises SessionError: the Session cannot be opened.
    """
    remove_leftovers(store)
    found = find_taught(config, store)
    with naming_base(found):
        resolution = find_model(found.config, store, progress, fetch)
    progress(f"model {resolution.model.name}: {resolution.why}")
    loaded = load_model(found.config, resolution.model, store, warmup_runs, progress)
    try:
        loaded = with_heads(loaded, found)
    except BaseException:
        loaded.classifier.close()
        raise
    loaded.take_over()
    return loaded


def with_heads(loaded: LoadedModel, found: TaughtModels) -> LoadedModel:
    """Return `loaded` with the heads of taught models on its Session, which stays as it is.

    :param loaded: may be in use.
    :raises ModelError: a head is damaged, was taught on another base, or fails its golden check.
    """
    variants = make_variants(loaded.classifier, loaded.base, loaded.base_sha256, found)
    model = found.default.name if found.default else loaded.base
    return replace(loaded, model=model, taught=found, variants=variants)


def load_model(
    config: Config, model: StoredModel, store: ModelStore, warmup_runs: int, progress: Callable[[str], None]
) -> LoadedModel:
    """Open a Session of `model` on the configured engine, warm it up and do the golden check.

    A damaged conversion is removed; another one, or the graph, then runs.

    :raises ModelError: the model is damaged or fails the golden check.
    :raises ConfigError: the configured engine cannot run it.
    :raises SessionError: the Session cannot be opened.
    """
    check_engine(config.session.engine, model)
    model = make_features_outputs(model, store, progress)
    choice = choose_fastest(config, model, spec_of(config, model), store, progress)
    if choice:
        progress(f"engine {choice.why}")
        conversion, spec = choice.candidate.conversion, choice.spec
    else:
        conversion = choose_conversion(config.session.engine, model)
        if conversion is None and needs_conversion(config.session.engine, model.entry.format):
            conversion = make_conversion(config.session.engine, model, store, progress)
        spec = conversion.session_spec(model, threads_of(config)) if conversion else spec_of(config, model)
    try:
        prepared = ensure_ready(model, store, progress, conversion)
        return _open_warm(config, model, spec, prepared, conversion, warmup_runs)
    except (ModelError, SessionError) as error:
        if conversion is None or conversion.is_whole or not os.access(model.directory, os.W_OK):
            raise
        LOG.warning("%s is removed, because it is damaged: %s", conversion.directory, error)
        store.detach(model, conversion.directory.name)
    return load_model(config, model, store, warmup_runs, progress)


def _open_warm(
    config: Config, model: StoredModel, spec: SessionSpec, prepared: Path | None,
    conversion: StoredConversion | None, warmup_runs: int,
) -> LoadedModel:  # fmt: skip
    """Open the Session of `spec`, warm it up and do the golden check."""
    golden = conversion.golden(model.entry.golden) if conversion else model.entry.golden
    with contextlib.ExitStack() as failed:
        classifier = open_classifier(config, model, spec, prepared)
        failed.callback(classifier.close)
        warmup = warm_up(classifier.session, model.session_spec(1).input_shape, warmup_runs)
        with mark_lasting():
            check_golden(classifier, model, golden)
        failed.pop_all()
    return LoadedModel(
        classifier,
        model.name,
        classifier.session.facts,
        warmup,
        model.entry.pixels_in_words,
        base=model.name,
        base_sha256=model.manifest.sha256,
    )


def find_model(
    config: Config,
    store: ModelStore,
    progress: Callable[[str], None],
    fetch: Callable[[str], None] | None = None,
) -> Resolution:
    """Return the configured model: a custom network or a known one, the base of a taught one.

    :param fetch: called to fetch a known model that is missing; None: fetch nothing.
    :raises ModelError: the model is missing or damaged.
    """
    config = find_taught(config, store).config
    if uses_custom(config):
        return _find_custom_model(config, store, progress)
    if unused := unused_custom(config):
        LOG.warning("%s", unused)
    name = config.model.name
    if fetch and needs_fetch(name, store):
        fetch(name)
    return resolve(name, store, progress, fetch)


def _find_custom_model(config: Config, store: ModelStore, progress: Callable[[str], None]) -> Resolution:
    # Imported here because it takes time, and most configurations have no custom model.
    from incv3d.models.custom import choices_in_words, ensure_custom

    def check(model: StoredModel) -> None:
        check_engine(config.session.engine, model)
        if model.entry.golden:
            if needs_conversion(config.session.engine, model.entry.format):
                add_float32(model, model.directory)
                conversion = open_conversion(model, "float32")
                spec, prepared = conversion.session_spec(model, threads_of(config)), None
            else:
                spec, prepared = spec_of(config, model), prepare_if_needed(model)
            with (
                contextlib.closing(open_classifier(config, model, spec, prepared)) as classifier,
                mark_lasting(),
            ):
                check_golden(classifier, model, model.entry.golden)

    name = CUSTOM if config.model.name == AUTO else config.model.name
    model = ensure_custom(config.custom, name, store, progress, check)
    progress(f"pixels: {model.entry.pixels_in_words}")
    if model.entry.binary:
        progress("output: one score, used for the second label; the first label gets 1 - score")
    if model.entry.caution:
        LOG.warning("model %s: %s", model.name, model.entry.caution)
    for line in choices_in_words(config.custom, model.entry):
        progress(line)
    return Resolution(model, "described in the configuration (custom.file)")


def uses_custom(config: Config) -> bool:
    """Return whether the model is the network described in the section ``custom``."""
    return bool(config.custom.file) and config.model.name not in load_catalog()


def model_fetcher(
    config: Config, store: ModelStore, progress: Callable[[str], None]
) -> Callable[[str], None] | None:
    """Return the function that fetches a model for :func:`find_model`; None if it must fetch none.

    The function raises ModelError if the model cannot be fetched, or memory is too low to prepare it.
    """
    wait_s = config.model.fetch_wait_s
    if not wait_s:
        return None

    def fetch(name: str) -> None:
        if is_usable("tensorflow", config.session.engine):
            check_memory(available_memory_mb())
        # Imported here because it loads an HTTP client; a daemon that has its model saves that memory.
        from incv3d.models.fetch.fetch import fetch_in_time

        fetch_in_time(store, name, wait_s, progress)

    return fetch


def open_classifier(
    config: Config, model: StoredModel, spec: SessionSpec, prepared: Path | None
) -> Classifier:
    """Return a classifier over a cold Session of `model`.

    :param spec: the spec of the model's own network, or of a conversion of it.
    :param prepared: what :func:`~incv3d.models.packed_weights.ensure_ready` returned for the network.
    :raises ModelError: the labels are damaged.
    :raises SessionError: the Session cannot be opened.
    """
    with mark_lasting():
        labels = read_labels(model.labels, model.entry.outputs)
        spec = with_features(spec, prepared)
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
        # One core has no gaps to fill: a second run would only delay the first.
        overlap=config.session.overlap_runs and available_cores() > 1,
    )


def check_engine(asked: str, model: StoredModel) -> None:
    """Raise ConfigError if the configured engine `asked` cannot run `model`, or is not installed."""
    own = engine_for(model.entry.format).name
    if asked not in ("auto", own) and (asked, own) != ("litert", "tensorflow"):
        networks = {"tensorflow": "frozen graphs", "litert": ".tflite models", "onnx": ".onnx networks"}
        raise ConfigError(
            f"session.engine: {asked} runs {networks[asked]} only; `{model.name}` is "
            f"{model.entry.network_in_words}: set {own} or auto"
        )
    if asked == "tensorflow":
        require_library("tensorflow", model.name)


def choose_conversion(asked: str, model: StoredModel) -> StoredConversion | None:
    """Return the conversion of `model` to run instead of its graph, and log the choice.

    Prefers int8 to float32. Skips damaged conversions.

    :param asked: the configured engine.
    :returns: None: the model has no usable conversion.
    """
    if asked == "tensorflow" or model.entry.format != "graphdef":
        return None
    for precision in converted_precisions(model.directory):
        try:
            found = open_conversion(model, precision)
        except ModelError as error:
            LOG.warning("%s", error)
            continue
        LOG.info("engine litert: a conversion to %s is in the store, %s", precision, found.facts.agreement)
        return found
    return None


def make_conversion(
    asked: str, model: StoredModel, store: ModelStore, progress: Callable[[str], None]
) -> StoredConversion:
    """Return the conversion of `model` to float32, which LiteRT must run; make it if it is missing.

    :param asked: the configured engine.
    :raises ConfigError: the graph has an operation that only TensorFlow's own converter supports.
    :raises ModelError: it cannot be made this time.
    """
    try:
        return ensure_float32(model, store, progress)
    except UnsupportedGraph as error:
        if engine_of("tensorflow").is_installed:
            raise ConfigError(
                f"session.engine: {asked} needs a converted model. {error}. Convert it with TensorFlow: "
                f"incv3d model convert {model.name} --to float32 --pictures FOLDER, or set auto"
            ) from None
        raise ConfigError(
            f"{error}; TensorFlow may run it: {pip_install(engine_of('tensorflow').package)}"
        ) from None


def open_store(config: Config, state: Path) -> ModelStore:
    """Return the model store: at the configured path, else in the state directory."""
    return ModelStore(Path(config.model.store) if config.model.store else state)
