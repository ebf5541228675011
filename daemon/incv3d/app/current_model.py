"""Load the configured model, and create the event monitor that watches for its labels."""

from __future__ import annotations

import logging

from incv3d.app.dispatcher import ResultDispatcher
from incv3d.app.reload import Changes
from incv3d.app.state import DaemonState
from incv3d.config.reloading import FIXED_BY_TENSORFLOW, effect_of
from incv3d.config.schema import Config
from incv3d.events.monitor import EventMonitor, create_event_monitor
from incv3d.events.watchlist import read_watchlists
from incv3d.models.entry import ModelError
from incv3d.models.store import ModelStore
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.configured_model import find_stored
from incv3d.pipeline.loader import LoadedModel, Loader, model_fetcher, with_heads
from incv3d.pipeline.taught import find_taught
from incv3d.threads import OnDeath

LOG = logging.getLogger(__name__)
SAVING_S = 2.0
"""How long a reload waits until the last images of the old configuration are written."""


class CurrentModel:
    """The model that runs, and the event monitor that fits it.

    :param load: loads a model.
    :param on_death: called with the thread's name and the error when the thread that saves images dies.
    """

    def __init__(
        self,
        state: DaemonState,
        store: ModelStore,
        load: Loader,
        dispatcher: ResultDispatcher,
        on_death: OnDeath,
    ) -> None:
        self._state = state
        self._store = store
        self._load = load
        self._dispatcher = dispatcher
        self._on_death = on_death
        self.fixed_keys: frozenset[str] = frozenset()
        """Keys of the configuration that take a restart in this process."""

    def start(self) -> Classifier:
        """Load the first model; called in the thread that will run it."""
        loaded = self.load(self._state.config)
        self._dispatcher.event_monitor = self._create_event_monitor(loaded)
        self._state.loaded = loaded
        return loaded.classifier

    def load(self, config: Config) -> LoadedModel:
        """Load and warm the model of `config`.

        :raises Incv3dError: it is not available, or is not what it should be.
        """
        fetch = model_fetcher(config, self._store, LOG.info)
        loaded = self._load(config, self._store, config.session.warmup_runs, fetch=fetch)
        if loaded.facts.engine == "tensorflow":
            self.fixed_keys = FIXED_BY_TENSORFLOW
        return loaded

    def needs_session(self, changes: Changes) -> bool:
        """Return whether a new configuration needs another Session: not for other heads on the same base.

        :raises Incv3dError: the new configuration cannot be used.
        """
        current = self._state.loaded
        assert current
        others = [key for key in changes.taken if effect_of(key) == "session" and key != "model.name"]
        found = find_taught(changes.config, self._store)
        is_same = current.taught is not None and found.heads_in_force == current.taught.heads_in_force
        if others or (is_same and "model.name" not in changes.taken):
            return bool(others)
        running = current.base, current.base_sha256
        if found.default:
            return (found.default.facts.base, found.default.facts.base_sha256) != running
        try:
            base = find_stored(found.config, self._store)
        except ModelError:
            return True  # loading it says what is wrong
        return base is None or (base.name, base.manifest.sha256) != running

    def take_heads(self, config: Config) -> LoadedModel | None:
        """Return the current Session with the heads that `config` names; None: it has them already.

        :raises Incv3dError: one is damaged, or does not fit.
        """
        current = self._state.loaded
        assert current
        found = find_taught(config, self._store)
        if current.taught is None or found.heads_in_force == current.taught.heads_in_force:
            return None
        return with_heads(current, found)

    def check_labels(self, config: Config, loaded: LoadedModel | None) -> None:
        """Check that the model has the labels that `config` names.

        :param loaded: the new model; None: the one that runs.
        :raises ConfigError: it lacks one.
        """
        loaded = loaded or self._state.loaded
        if config.watches_labels and loaded:
            read_watchlists(config, loaded.labels, loaded.model)

    def replace_event_monitor(self) -> None:
        """Close the event monitor, and create one for the current model and configuration."""
        assert self._state.loaded
        old, self._dispatcher.event_monitor = self._dispatcher.event_monitor, None
        if old:
            old.stop("reloaded")
            old.close(SAVING_S)
        self._dispatcher.event_monitor = self._create_event_monitor(self._state.loaded)

    def _create_event_monitor(self, loaded: LoadedModel) -> EventMonitor | None:
        return create_event_monitor(
            self._state.config,
            loaded.labels,
            loaded.model,
            self._dispatcher.publish_event,
            self._dispatcher.event_listeners.take_image,
            self._on_death,
        )
