"""Find the taught models that a configuration names, and put their heads on the base model's Session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from incv3d.config.loading import ConfigError
from incv3d.config.regions import models_of
from incv3d.config.schema import Config
from incv3d.frames import Prediction
from incv3d.models.entry import ModelError, mark_lasting
from incv3d.models.labels import Labels
from incv3d.models.resolve import AUTO, CUSTOM
from incv3d.models.store import ModelStore
from incv3d.models.taught.model import TaughtModel
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.golden_check import GoldenMismatch, classify_golden
from incv3d.pipeline.variants import NumberedHead, Variant, Variants, number_heads

SHOWN_DIGITS = 8
"""How many digits of a head's checksum logs show."""


@dataclass(frozen=True, slots=True)
class TaughtModels:
    """The taught models that a configuration names."""

    config: Config
    """The configuration with the base model's name as ``model.name``."""
    default: TaughtModel | None = None
    """The one for all sources but those in `by_source`; None: the base model."""
    by_source: Mapping[str, TaughtModel | None] = field(default_factory=dict)
    """Those of sources and regions that name one, ``CAMERA`` or ``CAMERA.REGION``; None: the base model."""

    @property
    def each(self) -> list[TaughtModel]:
        """The taught models, each once, the default one first."""
        found = [self.default, *self.by_source.values()]
        return list({each.name: each for each in found if each}.values())

    @property
    def uses_base_labels(self) -> bool:
        """Whether frames of any source are answered with the base model's labels."""
        return self.default is None or None in self.by_source.values()

    @property
    def in_words(self) -> str:
        """What runs, in one line: ``mine on efficientnet-lite0, head 1f3870be: empty, full``."""
        return "; ".join(
            f"{each.name} on {each.facts.base}, head {each.facts.head_sha256[:SHOWN_DIGITS]}: "
            f"{', '.join(each.facts.classes)}"
            for each in self.each
        )

    @property
    def heads_in_force(self) -> dict[str, str]:
        """The checksum of each head by the source that it is for; the default's source is empty."""
        named = {"": self.default, **self.by_source}
        return {source: each.facts.head_sha256 if each else "" for source, each in named.items()}


@mark_lasting()
def find_taught(config: Config, store: ModelStore) -> TaughtModels:
    """Return the taught models that `config` names, reading only their facts.

    :raises ModelError: one is damaged.
    :raises ConfigError: they do not share a base model, or a region names a model that cannot run with them.
    """
    taught = TaughtStore(store.root)
    places = _places_of_models(config)
    named = {source: model for source, (_, model) in places.items()}
    name = config.model.name
    if name == AUTO and not config.custom.file:
        name = taught.selected() or name
    default = taught.find(name)
    by_source = {source: taught.find(name) for source, name in named.items()}
    found = TaughtModels(config, default, by_source)
    if not found.each and not named:
        return found
    stored = [name for name in named.values() if name in store.names()]
    base = _base_name(config, found, stored)
    for source, name in named.items():
        model = by_source[source]
        key = places[source][0]
        if model and model.facts.base != base:
            raise ConfigError(
                f"{key}: {name} was taught on {model.facts.base}, but the daemon runs {base}: "
                "all models of a daemon must have the same base"
            )
        if model is None and name != base:
            raise ConfigError(f"{key}: `{name}` is neither a taught model nor {base}, which the daemon runs")
    section = msgspec.structs.replace(config.model, name=base)
    return replace(found, config=msgspec.structs.replace(config, model=section))


def _places_of_models(config: Config) -> dict[str, tuple[str, str]]:
    """Return the keys that name a model for the frames of a source, and the model, by the source."""
    found = {}
    for place, section in config.all_sources.items():
        for source, model in section.models.items():
            region = source.partition(".")[2]
            has_own = region and region in models_of(section.regions)
            found[source] = (f"{place}.regions.{region}" if has_own else f"{place}.model", model)
    return found


def _base_name(config: Config, found: TaughtModels, stored: list[str]) -> str:
    if found.default:
        return found.default.facts.base
    if config.model.name != AUTO:
        return config.model.name
    if config.custom.file:
        return CUSTOM
    # `auto` is the base of what the regions name: nothing else could run
    return [*(each.facts.base for each in found.each), *stored, AUTO][0]


@contextlib.contextmanager
def naming_base(found: TaughtModels) -> Iterator[None]:
    """Say in errors about the base model, raised in the block, which taught model needs it."""
    try:
        yield
    except ModelError as error:
        if found.default:
            error.args = (f"{found.default.name} needs its base model: {error}",)
        raise


@mark_lasting()
def read_heads(found: TaughtModels, base: Labels | None) -> tuple[Labels, dict[str, NumberedHead]]:
    """Read the heads of taught models.

    :param base: the base model's labels; None: unknown, because the base model is not in the store yet.
    :returns: all labels that predictions can have, and the heads by the names of their models.
    :raises ModelError: a head is damaged.
    """
    models = found.each
    labels, heads = number_heads([each.head() for each in models], base if found.uses_base_labels else None)
    return labels, {each.name: head for each, head in zip(models, heads, strict=True)}


@mark_lasting()
def check_bases(found: TaughtModels, base_sha256: str) -> None:
    """Raise ModelError if a taught model was taught on a network with another checksum than `base_sha256`."""
    for each in found.each:
        each.check_base(base_sha256)


@mark_lasting()
def make_variants(classifier: Classifier, name: str, sha256: str, found: TaughtModels) -> Variants:
    """Return the variants for taught models over the Session of their base model, each checked.

    :param classifier: a warm one, which may be in use.
    :param name: the base model's name.
    :param sha256: checksum of the base model's network.
    :raises ModelError: a head is damaged, was taught on another base, or fails its golden check.
    """
    base = Variant(classifier.preprocessor, model=name)
    if not found.each:
        return Variants(base, classifier.base_labels)
    check_bases(found, sha256)
    labels, heads = read_heads(found, classifier.base_labels)
    variants = {}
    for each in found.each:
        _check_features(each, heads[each.name], classifier)
        preprocessor = classifier.preprocessor.fitted(each.facts.fit, each.facts.crop_fraction)
        variants[each.name] = Variant(preprocessor, heads[each.name], each.name)
        check_taught_picture(classifier, each, variants[each.name])
    by_source = {source: variants[each.name] if each else base for source, each in found.by_source.items()}
    default = variants[found.default.name] if found.default else base
    return Variants(default, labels, by_source)


def _check_features(model: TaughtModel, head: NumberedHead, classifier: Classifier) -> None:
    length, wanted = classifier.session.facts.features, head.head.length
    if not length:
        raise ModelError(
            f"{model.name} cannot run: {model.facts.base} has no layer of features that can be found"
        )
    if length != wanted:
        raise ModelError(
            f"{model.name} cannot run: it was taught on {wanted} features, but {model.facts.base} has "
            f"{length}; teach it again: incv3d teach FOLDER --name {model.name} --base {model.facts.base}"
        )


def check_taught_picture(classifier: Classifier, model: TaughtModel, variant: Variant) -> Prediction | None:
    """Classify the golden picture of a taught model, if it has one, and compare the answer.

    :returns: the best prediction.
    :raises GoldenMismatch: it is not the picture's class.
    :raises ModelError: the picture cannot be read.
    """
    golden, picture = model.facts.golden, model.golden()
    if golden is None or picture is None:
        return None
    best = classify_golden(classifier, f"the golden picture of {model.name}", picture, variant)
    if best.label != golden.label:
        raise GoldenMismatch(
            f"{model.name} failed the golden check: a picture taught as `{golden.label}` is `{best.label}` "
            f"{best.score:.5f}; teach it again: incv3d teach FOLDER --name {model.name}"
        )
    return best
