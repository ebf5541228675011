"""What a new configuration changes in a daemon that goes on running."""

from __future__ import annotations

import copy
import queue
import threading
from pathlib import Path

import msgspec
import pytest

from doubles import ScriptedSession, TwoLabels
from incv3d.app.reload import (
    Changes,
    PendingReload,
    Reloader,
    ReloadError,
    check_reload_memory,
    compare,
    describe_changes,
)
from incv3d.config.address import Address
from incv3d.config.events import EventsSection
from incv3d.config.loading import ConfigError, LoadedConfig
from incv3d.config.messages import SECTIONS
from incv3d.config.reloading import EFFECTS, FIXED_BY_TENSORFLOW, KEYS
from incv3d.config.schema import Config
from incv3d.config.source import SourceSection
from incv3d.engines.warmup import WarmUp
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.golden_check import GoldenMismatch
from incv3d.pipeline.loader import LoadedModel

SOON_S = 20
FILM = SourceSection(type="video", path=Address("/srv/film.mp4"))
SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")


def changed(**sections: dict[str, object]) -> Config:
    return msgspec.convert(sections, Config)


def every_key() -> list[str]:
    sections = {name: getattr(Config(), name) for name in SECTIONS}
    return [f"{name}.{key}" for name, section in sections.items() for key in section.__struct_fields__]


def test_every_key_of_the_schema_says_once_what_a_reload_does_with_it() -> None:
    listed = [key for keys in KEYS.values() for key in keys.split()]
    assert sorted(listed) == sorted(every_key())


@pytest.mark.parametrize("name", every_key())
def test_a_key_is_either_applied_or_refused_by_its_name(name: str) -> None:
    section, key = name.split(".")
    old, new = (Config(source=FILM, events=EventsSection(allow=["*"])) for _ in range(2))
    another = copy.copy(getattr(new, section))
    other = {"left": [0.0, 0.0, 0.5, 1.0]} if name == "source.regions" else object()
    msgspec.structs.force_setattr(another, key, other)
    msgspec.structs.force_setattr(new, section, another)
    takes_restart = EFFECTS[name] == "restart"
    changes = compare(old, new)
    assert (changes.taken, changes.after_restart) == (((), (name,)) if takes_restart else ((name,), ()))
    applied = getattr(getattr(changes.config, section), key)
    assert applied == getattr(getattr(old if takes_restart else new, section), key)
    assert changes.session is (EFFECTS[name] == "session")
    assert changes.source is (EFFECTS[name] == "source" and name != "source.model")
    assert changes.events is (EFFECTS[name] == "events")


def test_the_number_of_threads_takes_a_restart_once_tensorflow_has_run() -> None:
    new = changed(session={"threads": 1}, model={"top_k": 2})
    changes = compare(Config(), new, FIXED_BY_TENSORFLOW)
    assert changes.after_restart == ("session.threads",) and changes.taken == ("model.top_k",)
    assert changes.config == changed(model={"top_k": 2})


def test_nothing_changed_is_nothing_to_do() -> None:
    changes = compare(Config(), Config())
    assert changes.taken == changes.after_restart == () and changes.config == Config()
    assert not changes.session and not changes.source


@pytest.mark.parametrize(
    ("section", "key", "value", "session", "source"),
    [
        ("model", "name", "mine", True, False),
        ("model", "top_k", 3, True, False),
        ("custom", "labels", "/srv/labels.txt", True, False),
        ("session", "threads", 1, True, False),
        ("session", "overlap_runs", False, True, False),
        ("intake", "max_pixels", 1000, True, False),
        ("source", "width", 320, False, True),
        ("intake", "queue_limit", 2, False, False),
        ("latency", "interval_s", 1.0, False, False),
        ("daemon", "log_level", "debug", False, False),
        ("events", "allow", ["robin"], False, False),
    ],
)
def test_what_changes_now(section: str, key: str, value: object, session: bool, source: bool) -> None:
    old = Config(source=FILM)
    other = msgspec.structs.replace(getattr(old, section), **{key: value})
    new = msgspec.structs.replace(old, **{section: other})
    changes = compare(old, new)
    assert changes.taken == (f"{section}.{key}",) and changes.after_restart == ()
    assert changes.config == new
    assert (changes.session, changes.source) == (session, source)
    assert describe_changes(changes) == {f"{section}.{key}": value}


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("intake", "bind", "tcp://127.0.0.1:1"),
        ("intake", "publish", ""),
        ("intake", "max_message_bytes", 2048),
        ("latency", "log", "/srv/latency.log"),
        ("model", "store", "/srv/models"),
    ],
)
def test_what_takes_a_restart_keeps_its_old_value_beside_what_does_not(section, key, value) -> None:
    new = changed(**{section: {key: value}, "daemon": {"grace_s": 3.0}})
    changes = compare(Config(), new)
    assert changes.after_restart == (f"{section}.{key}",) and changes.taken == ("daemon.grace_s",)
    assert changes.config == changed(daemon={"grace_s": 3.0})


@pytest.mark.parametrize(
    ("available_mb", "limit_mb", "private_mb"),
    [
        (200.0, 500.0, 150.0),
        (200.0, None, 150.0),
        (None, 500.0, 150.0),
        (None, None, 150.0),
        (1.0, 1.0, None),
    ],
)
def test_a_second_session_is_loaded_where_it_has_room(available_mb, limit_mb, private_mb) -> None:
    check_reload_memory(available_mb, limit_mb, private_mb)


@pytest.mark.parametrize(("available_mb", "limit_mb"), [(100.0, 500.0), (400.0, 250.0), (400.0, 50.0)])
def test_without_room_a_restart_is_advised(available_mb: float, limit_mb: float) -> None:
    with pytest.raises(ReloadError, match=r"take about 150 MB, .* systemctl restart incv3d"):
        check_reload_memory(available_mb, limit_mb, 150.0)


class Reading:
    """A :class:`Reloader`, and what it hands over."""

    def __init__(
        self,
        found: Config | Exception,
        error: Exception | None = None,
        loaded: LoadedModel | None = None,
        heads: LoadedModel | None = None,
    ) -> None:
        self.loads: list[Config] = []
        self.threads: set[int] = set()
        self._found = found
        self._error = error
        self._loaded = loaded
        self._heads = heads
        self._done: queue.SimpleQueue[PendingReload | None] = queue.SimpleQueue()
        self.reloader = Reloader(self._read, self, None, self._done.put)

    def result(self) -> PendingReload | None:
        self.reloader.is_wanted = True
        self.reloader.begin_if_wanted(Config())
        return self._wait()

    def swap(self) -> PendingReload:
        self.reloader.is_swap_wanted = True
        self.reloader.begin_if_wanted(Config())
        found = self._wait()
        assert found and found.is_swap and not found.changes.taken
        return found

    def _wait(self) -> PendingReload | None:
        found = self._done.get(timeout=SOON_S)
        self.reloader.is_running = False
        return found

    def _read(self) -> LoadedConfig:
        self.threads.add(threading.get_ident())
        if isinstance(self._found, Exception):
            raise self._found
        return LoadedConfig(self._found, Path("incv3d.yaml"))

    def needs_session(self, changes: Changes) -> bool:
        return changes.session

    def take_heads(self, config: Config) -> LoadedModel | None:
        return self._heads

    def check_labels(self, config: Config, loaded: LoadedModel | None) -> None:
        if "unheard-of" in config.events.allow:
            raise ConfigError("events.allow: unheard-of is no label")

    def load(self, config: Config) -> LoadedModel:
        self.loads.append(config)
        if self._loaded:
            return self._loaded
        raise self._error or AssertionError("nothing was to be loaded")


def test_reading_leaves_the_calling_thread_free() -> None:
    reading = Reading(changed(daemon={"grace_s": 1.0}))
    reload = reading.result()
    assert reload and reload.changes.taken == ("daemon.grace_s",) and not reading.loads and not reload.is_swap
    assert threading.get_ident() not in reading.threads


@pytest.mark.parametrize(
    ("found", "error", "said"),
    [
        (ConfigError("incv3d.yaml:3: a mistake"), None, "incv3d.yaml:3: a mistake"),
        (changed(model={"name": "x"}), GoldenMismatch("x is another model"), "x is another model"),
        (changed(events={"allow": ["unheard-of"]}), None, "unheard-of is no label"),
        (changed(model={"name": "x"}), ZeroDivisionError("a bug"), "a bug"),
    ],
)
def test_what_cannot_be_had_is_said_and_changes_nothing(found, error, said, caplog) -> None:
    assert Reading(found, error).result() is None
    assert said in caplog.text and "the old one stays in force" in caplog.text


def test_a_second_session_is_not_loaded_without_room_for_it(monkeypatch, caplog) -> None:
    monkeypatch.setattr("incv3d.app.reload.available_memory_mb", lambda: 100.0)
    monkeypatch.setattr("incv3d.app.reload.private_memory_mb", lambda: 150.0)
    reading = Reading(changed(model={"name": "x"}))
    assert reading.result() is None and not reading.loads
    assert "would take about 150 MB, 100 MB are free" in caplog.text
    settings = Reading(changed(daemon={"grace_s": 1.0})).result()
    assert settings, "what takes no second Session needs no room for one"


@pytest.mark.parametrize("word", ["robin", "unheard-of"])
def test_a_new_session_that_its_configuration_does_not_fit_is_closed(caplog, word: str) -> None:
    session = ScriptedSession()
    classifier = Classifier(Preprocessor(SPEC, 100), session, TwoLabels(), top_k=1)
    loaded = LoadedModel(classifier, "x", session.facts, WarmUp((1.0,), settled=True))
    reload = Reading(changed(model={"name": "x"}, events={"allow": [word]}), loaded=loaded).result()
    assert session.closed == (word == "unheard-of") == (reload is None)
    assert reload is None or reload.loaded is loaded


@pytest.mark.parametrize("word", ["robin", "unheard-of"])
def test_other_heads_that_their_configuration_does_not_fit_leave_the_session_open(caplog, word: str) -> None:
    caplog.set_level("INFO")
    session = ScriptedSession()
    classifier = Classifier(Preprocessor(SPEC, 100), session, TwoLabels(), top_k=1)
    heads = LoadedModel(classifier, "mine", session.facts, WarmUp((1.0,), settled=True))
    reload = Reading(changed(events={"allow": [word]}), heads=heads).result()
    assert not session.closed and (reload is None) == (word == "unheard-of")
    assert reload is None or (reload.loaded is heads and not reload.is_new_session)
    reload = Reading(Config(), heads=heads).result()
    assert reload and reload.loaded is heads and "no changes" not in caplog.text


def test_the_model_that_is_loaded_again_has_a_session_of_its_own() -> None:
    session = ScriptedSession()
    classifier = Classifier(Preprocessor(SPEC, 100), session, TwoLabels(), top_k=1)
    loaded = LoadedModel(classifier, "x", session.facts, WarmUp((1.0,), settled=True))
    swap = Reading(Config(), loaded=loaded).swap()
    assert swap.loaded is loaded and swap.is_new_session and swap.problem == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GoldenMismatch("x is another model"), "x is another model"),
        (ZeroDivisionError("a bug"), "it failed; see the daemon's log"),
    ],
)
def test_why_a_model_could_not_be_loaded_again_is_handed_over(error: Exception, said: str) -> None:
    swap = Reading(Config(), error).swap()
    assert swap.loaded is None and not swap.is_new_session and swap.problem == said


def test_a_region_with_another_model_does_not_open_the_source_again() -> None:
    box = [0.0, 0.0, 0.5, 1.0]
    regions = [{"left": box}, {"left": {"box": box, "model": "mine"}}, {"left": [0.0, 0.0, 0.5, 0.5]}]
    first, second, third = (Config(source=msgspec.structs.replace(FILM, regions=each)) for each in regions)
    assert not compare(first, second).source and compare(first, second).taken == ("source.regions",)
    assert compare(second, third).source


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Config(), True),
        (changed(daemon={"grace_s": 1.0}), False),
        (changed(intake={"bind": "tcp://127.0.0.1:1"}), False),
    ],
)
def test_that_nothing_has_changed_is_said_where_it_is_true(caplog, found: Config, said: bool) -> None:
    caplog.set_level("INFO")
    assert Reading(found).result()
    assert ("configuration: incv3d.yaml has no changes" in caplog.text) == said


def test_a_source_is_opened_only_where_it_has_changed(tmp_path: Path) -> None:
    reload = Reading(changed(source={"type": "images", "path": Address(str(tmp_path))})).result()
    assert reload and reload.changes.source and list(reload.openers) == ["camera"]
    reload = Reading(changed(daemon={"grace_s": 1.0})).result()
    assert reload and not reload.changes.source and not reload.openers


def test_the_sources_of_a_list_are_compared_by_their_names() -> None:
    door, gate = (msgspec.structs.replace(FILM, name=name) for name in ("door", "gate"))
    wider = msgspec.structs.replace(gate, width=800)
    old, new = (
        Config(sources=[door, gate]),
        Config(sources=[wider, msgspec.structs.replace(FILM, name="yard")]),
    )
    changes = compare(old, new)
    assert changes.source
    assert describe_changes(changes) == {
        "sources.door": "removed",
        "sources.gate.width": 800,
        "sources.yard": "captured",
    }
    assert not compare(old, old).taken
    taught = msgspec.structs.replace(door, model="mine")
    only_model = compare(old, Config(sources=[taught, gate]))
    assert only_model.taken == ("sources.door.model",) and not only_model.source
    watched = msgspec.structs.replace(door, events=EventsSection(allow=["fox"]))
    only_events = compare(old, Config(sources=[watched, gate]))
    assert only_events.taken == ("sources.door.events",) and only_events.events and not only_events.source


def test_no_less_than_nothing_is_free() -> None:
    with pytest.raises(ReloadError, match=r"take about 150 MB, 0 MB are free; a restart"):
        check_reload_memory(400.0, 50.0, 150.0)


def test_what_takes_a_restart_is_said(caplog) -> None:
    assert Reading(changed(intake={"bind": "tcp://127.0.0.1:1"})).result()
    assert "intake.bind of incv3d.yaml: only applied by a restart (systemctl restart incv3d)" in caplog.text
