"""Taught models on a real Session of their base: which runs, what it says, and what prevents it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from heads import axes, facts_of, head_of
from incv3d.config.address import Address
from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.config.source import SourceSection
from incv3d.engines.base import SessionError
from incv3d.frames import Frame, Result
from incv3d.models.entry import ModelError
from incv3d.models.labels import Label, Labels
from incv3d.models.store import ModelStore
from incv3d.models.taught.head import Head
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.golden_check import GoldenMismatch
from incv3d.pipeline.loader import LoadedModel, load_classifier
from incv3d.pipeline.taught import find_taught
from incv3d.pipeline.variants import number_heads
from taught_models import BASE, add_base, picture, teach

Load = Callable[..., LoadedModel]
BOX = [0.0, 0.0, 1.0, 1.0]


def config_of(name: str, regions: dict[str, object] | None = None) -> Config:
    sections = {
        "model": {"name": name},
        "session": {"engine": "litert"},
    }
    config = msgspec.convert(sections, Config)
    source = SourceSection(type="images", path=Address("/srv"), regions=regions or {})  # type: ignore[arg-type]
    return msgspec.structs.replace(config, source=source)


@pytest.fixture(scope="module")
def shared_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a base and the model `mine`, which no test may change."""
    state = tmp_path_factory.mktemp("state")
    add_base(state)
    teach(state, "mine", ["empty", "full"])
    teach(state, "strict", ["empty", "full"], threshold=2, is_golden=False)
    teach(state, "yours", ["full", "class 1", "half"])
    return state


@pytest.fixture
def load() -> Iterator[Load]:
    with contextlib.ExitStack() as stack:

        def make(state: Path, name: str, regions: dict[str, object] | None = None) -> LoadedModel:
            loaded = load_classifier(config_of(name, regions), ModelStore(state), 0, lambda line: None)
            stack.callback(loaded.classifier.close)
            return loaded

        yield make


def classify(classifier: Classifier, number: int, source: str = "zmq", **asked: int) -> Result:
    now = time.monotonic()
    frame = Frame(source, picture(number), None, now, now, **asked)
    return classifier.classify(classifier.prepare(frame))


def test_the_name_of_a_taught_model_runs_its_head_on_its_base(shared_state: Path, load: Load) -> None:
    loaded = load(shared_state, "mine")
    assert (loaded.model, loaded.base) == ("mine", BASE)
    for number, label in enumerate(("empty", "full")):
        result = classify(loaded.classifier, number)
        assert (result.predictions[0].index, result.predictions[0].label) == (number, label)
        assert result.model == "mine" and result.base_predictions is None
        assert result.features is not None and result.features.shape == (24,)
    assert loaded.labels.matching("unknown") == (2,) and not loaded.labels.matching("class 1")


def test_auto_means_the_taught_model_that_was_chosen(state: Path, load: Load) -> None:
    TaughtStore(state).select("mine")
    assert load(state, "auto").model == "mine"
    TaughtStore(state).remove("mine")
    assert find_taught(config_of("auto"), ModelStore(state)).default is None


def test_what_is_not_familiar_is_unknown(shared_state: Path, load: Load) -> None:
    loaded = load(shared_state, "mine", {"door": {"box": BOX, "model": "strict"}})
    refused = classify(loaded.classifier, 0, "camera.door").predictions
    assert [each.label for each in refused] == ["unknown", "empty", "full"]
    assert loaded.labels.matching("unknown") == (refused[0].index,)
    assert classify(loaded.classifier, 0, "camera").predictions[0].label == "empty"


def test_the_base_can_be_asked_along(shared_state: Path, load: Load) -> None:
    base = classify(load(shared_state, BASE).classifier, 1, top_k=5)
    assert base.predictions[0].label.startswith("class ") and base.base_predictions is None
    taught = classify(load(shared_state, "mine").classifier, 1, top_k=1, base_top_k=3)
    assert len(taught.predictions) == 1 and taught.base_predictions == base.predictions[:3]
    both = classify(load(shared_state, BASE).classifier, 1, top_k=1, base_top_k=2)
    assert (both.predictions, both.base_predictions) == (base.predictions[:1], base.predictions[:2])


def test_regions_may_have_models_of_their_own_and_equal_names_have_equal_indices(
    shared_state: Path, load: Load
) -> None:
    regions = {"left": {"box": BOX, "model": "mine"}, "right": {"box": BOX, "model": "yours"}, "all": BOX}
    loaded = load(shared_state, "auto", regions)
    assert (loaded.model, loaded.base) == (BASE, BASE)
    found = {name: classify(loaded.classifier, 0, f"camera.{name}") for name in regions}
    assert [found[name].predictions[0].label for name in ("left", "right")] == ["empty", "full"]
    assert found["all"].predictions[0].label.startswith("class ")
    assert {name: each.model for name, each in found.items()} == {
        "left": "mine",
        "right": "yours",
        "all": BASE,
    }
    full = {
        each.index
        for each in (*found["left"].predictions, *found["right"].predictions)
        if each.label == "full"
    }
    assert full == set(loaded.labels.matching("full")) and len(full) == 1
    (one,) = (each for each in found["right"].predictions if each.label == "class 1")
    assert one.index == 1, "the base's label of the same name"
    taught = load(shared_state, "mine", {"left": {"box": BOX, "model": BASE}})
    assert classify(taught.classifier, 0, "camera.left").predictions[0].label.startswith("class ")
    assert classify(taught.classifier, 0, "camera").predictions[0].label == "empty"


def test_labels_of_the_base_are_numbered_first_and_unknown_last() -> None:
    heads = [head_named("b", "a"), head_named("c", "b")]
    labels, numbered = number_heads(heads, Labels([Label(0, "n0", "a, A"), Label(1, "n1", "x")], 2))
    assert [labels[index].name for index in range(len(labels))] == ["a", "x", "b", "c", "unknown"]
    assert [each.indices for each in numbered] == [(2, 0, 4), (3, 2, 4)]
    labels, numbered = number_heads(heads[:1], None)
    assert [labels[index].name for index in range(len(labels))] == ["b", "a", "unknown"]
    assert numbered[0].indices == (0, 1, 2)
    labels, numbered = number_heads([], Labels([], 2))
    assert len(labels) == 2 and not numbered


def head_named(*classes: str) -> Head:
    return head_of(classes, axes(len(classes)))


@pytest.mark.parametrize(
    ("name", "regions", "said"),
    [
        (
            "other",
            {"a": {"box": BOX, "model": "mine"}},
            "a: mine was taught on tiny, but the daemon",
        ),
        ("mine", {"a": {"box": BOX, "model": "nobody"}}, "a: `nobody` is neither a taught model nor tiny"),
        (BASE, {"a": {"box": BOX, "model": "other"}}, "a: `other` is neither a taught model nor tiny"),
    ],
)
def test_models_of_one_daemon_must_share_a_base(shared_state: Path, name: str, regions, said: str) -> None:
    with pytest.raises(ConfigError, match=f"source.regions.{said}"):
        find_taught(config_of(name, regions), ModelStore(shared_state))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that the test may change."""
    add_base(tmp_path)
    teach(tmp_path, "mine", ["empty", "full"])
    return tmp_path


def test_a_head_for_another_base_a_damaged_one_and_no_base_are_one_lasting_line(
    state: Path, load: Load
) -> None:
    store = TaughtStore(state)
    found = store.get("mine")
    head = found.head()
    other = msgspec.structs.replace(
        facts_of("other", head, ModelStore(state).get(BASE)), base_sha256="1" * 64
    )
    store.save(head, other, b"{}")
    missing = msgspec.structs.replace(other, name="missing", base="nowhere")
    store.save(head, missing, b"{}")
    for name, said in (
        ("other", "other was taught on another tiny; teach it again: incv3d teach FOLDER"),
        ("missing", "missing needs its base model: no model `nowhere` in"),
    ):
        with pytest.raises(ModelError, match=said) as caught:
            load(state, name)
        assert "\n" not in str(caught.value) and caught.value.is_lasting
    (found.folder / "head.npz").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"head\.npz: damaged .*; teach it again") as caught:
        load(state, "mine")
    assert caught.value.is_lasting


def test_a_head_of_other_features_is_one_clear_line(state: Path, load: Load) -> None:
    facts = msgspec.structs.replace(TaughtStore(state).get("mine").facts, golden=None)
    TaughtStore(state).save(head_named("empty", "full"), facts, b"{}")
    with pytest.raises(ModelError, match="taught on 16 features, but tiny has 24; teach it again"):
        load(state, "mine")


def test_a_session_that_failed_its_golden_check_is_closed(state: Path, monkeypatch) -> None:
    facts = TaughtStore(state).get("mine").facts
    assert facts.golden
    wrong = msgspec.structs.replace(facts, golden=msgspec.structs.replace(facts.golden, label="full"))
    TaughtStore(state).save(TaughtStore(state).get("mine").head(), wrong, b"{}", picture(0))
    opened: list[Classifier] = []
    make = Classifier.__init__

    def remember(self: Classifier, *args, **kwargs) -> None:
        make(self, *args, **kwargs)
        opened.append(self)

    monkeypatch.setattr(Classifier, "__init__", remember)
    with pytest.raises(
        GoldenMismatch, match="mine failed the golden check: a picture taught as `full` is `empty`"
    ):
        load_classifier(config_of("mine"), ModelStore(state), 0, lambda line: None)
    with pytest.raises(SessionError, match="closed"):
        classify(opened[-1], 0)


def test_a_fit_of_its_own_is_used(state: Path, load: Load) -> None:
    facts = TaughtStore(state).get("mine").facts
    cropped = msgspec.structs.replace(facts, name="cropped", fit="crop", crop_fraction=0.5, golden=None)
    TaughtStore(state).save(TaughtStore(state).get("mine").head(), cropped, b"{}")
    whole, part = (classify(load(state, name).classifier, 0).features for name in ("mine", "cropped"))
    assert whole is not None and part is not None and abs(whole - part).max() > 1e-4
