"""Reload the configuration while the daemon runs: find what has changed, and prepare it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from incv3d.config.loading import LoadedConfig, as_builtins
from incv3d.config.messages import SECTIONS
from incv3d.config.reloading import Effect, effect_of
from incv3d.config.schema import Config
from incv3d.config.source import SourceSection
from incv3d.errors import Incv3dError
from incv3d.machine import available_memory_mb, memory_limit_mb, private_memory_mb
from incv3d.pipeline.loader import LoadedModel
from incv3d.sources import OpenSource, source_openers
from incv3d.sources.recorded import Record

LOG = logging.getLogger(__name__)
RESTART = "systemctl restart incv3d"


class ReloadError(Incv3dError):
    """The new configuration needs something that is not available while the daemon runs."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How a new configuration differs from the one in force."""

    config: Config
    """The new one, but keys that take a restart have their old values."""
    taken: tuple[str, ...]
    """The keys that change now, such as ``intake.queue_limit``."""
    after_restart: tuple[str, ...]
    """The keys that would change after a restart."""
    source: bool = False
    """Whether a source must be opened, closed, or opened again."""

    @property
    def session(self) -> bool:
        """Return whether the model must be loaded again."""
        return self._any("session")

    @property
    def tuning(self) -> bool:
        """Return whether the daemon is to tune itself differently."""
        return any(key.startswith("session.tune") for key in self.taken)

    @property
    def events(self) -> bool:
        """Return whether other labels are watched, or other images are saved."""
        return self._any("events")

    def _any(self, effect: Effect) -> bool:
        return any(effect_of(key) == effect for key in self.taken)


def compare(old: Config, new: Config, fixed: Collection[str] = ()) -> Changes:
    """Return what `new` changes of `old` in a daemon that continues to run.

    :param fixed: keys that take a restart in this process, in addition to those that always do.
    """
    taken, after_restart = [], []
    sections: dict[str, Any] = {"sources": new.sources}
    for section in SECTIONS:
        before, after = getattr(old, section), getattr(new, section)
        kept = {}
        for key in after.__struct_fields__:
            if getattr(after, key) == getattr(before, key):
                continue
            name = f"{section}.{key}"
            if effect_of(name) == "restart" or name in fixed:
                after_restart.append(name)
                kept[key] = getattr(before, key)
            else:
                taken.append(name)
        sections[section] = msgspec.structs.replace(after, **kept) if kept else after
    taken += _changes_in_lists(old.sources, new.sources)
    before, after = ([each.capturing for each in config.all_sources.values()] for config in (old, new))
    return Changes(Config(**sections), tuple(taken), tuple(after_restart), before != after)


def _changes_in_lists(old: Iterable[SourceSection], new: Iterable[SourceSection]) -> list[str]:
    """Return the keys of ``sources`` that differ, ``sources.door.path``; ``sources.door`` is new or gone."""
    before, after = ({each.name: each for each in sources} for sources in (old, new))
    keys = []
    for name in before | after:
        if name in before and name in after:
            fields = SourceSection.__struct_fields__
            differing = [each for each in fields if getattr(before[name], each) != getattr(after[name], each)]
            keys += [f"sources.{name}.{each}" for each in differing]
        else:
            keys.append(f"sources.{name}")
    return keys


@dataclass(frozen=True, slots=True)
class PendingReload:
    """A new configuration, with everything that it needs."""

    changes: Changes
    loaded: LoadedModel | None
    """What replaces the current model: a warm Session, or other heads on the same one; None: nothing."""
    openers: Mapping[str, OpenSource]
    """Opens each source, by its name, if one of them changes."""
    is_new_session: bool
    """Whether `loaded` has a Session of its own."""
    is_swap: bool = False
    """Whether the configuration is unchanged, and only the model was loaded again."""
    problem: str = ""
    """For a swap: why the model could not be loaded."""


class ReloadableModel(Protocol):
    """The model that runs, as far as a reload needs it. Implemented by
    :class:`incv3d.app.current_model.CurrentModel`."""

    def needs_session(self, changes: Changes) -> bool:
        """Return whether the new configuration needs another Session.

        :raises Incv3dError: the new configuration cannot be used.
        """

    def load(self, config: Config) -> LoadedModel:
        """Load and warm the model of `config`, with a Session of its own.

        :raises Incv3dError: it is not available, or is not what it should be.
        """

    def take_heads(self, config: Config) -> LoadedModel | None:
        """Return the current Session with the heads that `config` names; None: it has them already.

        :raises Incv3dError: one is damaged, or does not fit.
        """

    def check_labels(self, config: Config, loaded: LoadedModel | None) -> None:
        """Raise ConfigError if `config` names labels that `loaded`, or for None the current model, lacks."""


class Reloader:
    """Read the configuration, and load what it needs, in a thread of its own: frames are served meanwhile.

    :param read: reads the configuration as at the start.
    :param model: the current one.
    :param record: gets every packet that a camera encoded; None: nobody wants them.
    :param on_done: called in that thread with what is ready to be applied; None: everything stays as it is,
        and the log says why.
    """

    def __init__(
        self,
        read: Callable[[], LoadedConfig],
        model: ReloadableModel,
        record: Record | None,
        on_done: Callable[[PendingReload | None], None],
    ) -> None:
        self._read = read
        self._model = model
        self._record = record
        self._on_done = on_done
        self.problem = ""
        """Why the last configuration that was read is not in force; empty: it is."""
        self.is_wanted = False
        """Whether the configuration is to be read again."""
        self.is_swap_wanted = False
        """Whether the model is to be loaded again, because the store has a faster form of it."""
        self.is_running = False
        """Whether a reload or a swap has begun, and has not ended."""

    def begin_if_wanted(self, current: Config, fixed: Collection[str] = ()) -> bool:
        """Begin what is wanted, unless something runs; return whether the configuration is read again.

        :param current: the configuration in force.
        :param fixed: keys that take a restart in this process, in addition to those that always do.
        """
        if self.is_running or not (self.is_wanted or self.is_swap_wanted):
            return False
        self.is_running = True
        reads, self.is_wanted = self.is_wanted, False
        if reads:
            work = partial(self._run, current, fixed)
        else:
            self.is_swap_wanted = False
            work = partial(self._load_again, current)
        threading.Thread(target=work, name="reload", daemon=True).start()
        return reads

    def _load_again(self, current: Config) -> None:
        loaded, problem = None, ""
        try:
            check_reload_memory(available_memory_mb(), memory_limit_mb(), private_memory_mb())
            loaded = self._model.load(current)
        except Incv3dError as error:
            problem = str(error)
        except Exception:
            # Whatever the conversion caused, the daemon continues with the model that serves.
            LOG.exception("the tuned model failed")
            problem = "it failed; see the daemon's log"
        changes = Changes(current, (), ())
        self._on_done(PendingReload(changes, loaded, {}, loaded is not None, is_swap=True, problem=problem))

    def _run(self, current: Config, fixed: Collection[str]) -> None:
        reload, self.problem = None, ""
        try:
            reload = self._make(current, fixed)
        except Incv3dError as error:
            self.problem = str(error)
            LOG.error("the new configuration is rejected, the old one stays in force: %s", error)
        except Exception:
            # Whatever the new configuration caused, the daemon continues with the old one.
            self.problem = "it failed; see the daemon's log"
            LOG.exception("the new configuration failed, the old one stays in force")
        self._on_done(reload)

    def _make(self, current: Config, fixed: Collection[str]) -> PendingReload:
        found = self._read()
        changes = compare(current, found.config, fixed)
        if changes.after_restart:
            keys = ", ".join(changes.after_restart)
            LOG.warning("%s of %s: only applied by a restart (%s)", keys, found.origin, RESTART)
        openers = source_openers(changes.config.all_sources, self._record) if changes.source else {}
        is_new_session = self._model.needs_session(changes)
        if is_new_session:
            check_reload_memory(available_memory_mb(), memory_limit_mb(), private_memory_mb())
            loaded: LoadedModel | None = self._model.load(changes.config)
        else:
            loaded = self._model.take_heads(changes.config)
        try:
            self._model.check_labels(changes.config, loaded)
        except Incv3dError:
            if loaded and is_new_session:
                loaded.classifier.close()
            raise
        if not changes.taken and not changes.after_restart and not loaded:
            LOG.info("configuration: %s has no changes", found.origin)
        return PendingReload(changes, loaded, openers, is_new_session)


def check_reload_memory(available_mb: float | None, limit_mb: float | None, private_mb: float | None) -> None:
    """Check that there is memory for a second Session next to the current one.

    It is assumed to need as much as the whole process has now. Unknown values are no obstacle.

    :param available_mb: the free memory of the machine.
    :param limit_mb: the memory limit of this process.
    :param private_mb: the private memory of this process.
    :raises ReloadError: there is not enough.
    """
    if private_mb is None:
        return
    rooms = [available_mb, None if limit_mb is None else limit_mb - private_mb]
    room_mb = min((room for room in rooms if room is not None), default=private_mb)
    if room_mb < private_mb:
        raise ReloadError(
            f"a second Session next to the current one would take about {private_mb:.0f} MB, "
            f"{max(room_mb, 0):.0f} MB are free; a restart loads it alone: {RESTART}"
        )


def describe_changes(changes: Changes) -> dict[str, Any]:
    """Return the keys that change now, with their new values, for the log."""
    values: dict[str, Any] = as_builtins(changes.config)
    values["sources"] = {each["name"]: each for each in values["sources"]}
    return {key: _value_of(key.split("."), values) for key in changes.taken}


def _value_of(words: Sequence[str], values: Any) -> Any:
    """Return what the key of these words is set to; for a source, whether there is one."""
    found = values
    for word in words:
        found = found.get(word)
    if words[0] == "sources" and len(words) == 2:
        return "captured" if found else "removed"
    return found
