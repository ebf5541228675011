"""Tune the daemon: convert its model to int8 with frames of its own source, while it serves."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from functools import partial

from incv3d.app.state import DaemonState
from incv3d.app.tuning_conversion import ConversionOutcome, RunTuning, Tuning
from incv3d.config.schema import Config
from incv3d.engines import engine_of
from incv3d.errors import pip_install
from incv3d.frames import Result
from incv3d.latency.rolling import RollingLatency
from incv3d.models.conversions import Comparison, Conversion, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.quantise import check_library
from incv3d.models.store import ModelStore, StoredModel
from incv3d.models.tuning import run_tuning
from incv3d.models.tuning_tries import read_tries
from incv3d.pipeline.distinct_frames import DistinctFrames
from incv3d.threads import OnDeath, start_thread
from incv3d.transports.base import TuningState, TuningStatus

LOG = logging.getLogger(__name__)
WANTED = (60, 75, 90)
"""Frames at which each try begins; after the last, the daemon gives up."""
MOST = WANTED[-1]
"""Frames kept in memory, typically 8 MB; during a conversion their pixels, too: 97 MB for Inception-v3."""
RETRY_S = 600.0
"""The shortest pause after a conversion for which there was no room."""
MEASURED_RUNS, MEASURED_S = 30, 60.0
"""How many runs of the new Session, or how many seconds of it, are measured before the log compares them."""


class Tuner:
    """Collect frames, have them converted, and decide what follows.

    The main thread calls everything but :meth:`offer` and :meth:`status`, which any thread may call.

    :param on_outcome: called at the end of a conversion, in the thread ``tuning``: the main thread then calls
        :meth:`finish`.
    :param on_death: called with the thread's name and the error when that thread dies.
    :param run: runs a conversion in a child process.
    """

    def __init__(
        self,
        state: DaemonState,
        store: ModelStore,
        latency: RollingLatency,
        on_outcome: Callable[[ConversionOutcome], None],
        on_death: OnDeath,
        run: RunTuning = run_tuning,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._store = store
        self._latency = latency
        self._on_outcome = on_outcome
        self._on_death = on_death
        self._run = run
        self._clock = clock
        self._work: queue.SimpleQueue[tuple[Tuning, Callable[[], None]]] = queue.SimpleQueue()
        self._has_thread = False
        self._phase: TuningState = "off"
        self._reason = ""
        self._tuning: Tuning | None = None
        """While frames are collected and converted."""
        self._tries = 0
        self._not_before = 0.0
        """When the next conversion may begin, at the earliest (monotonic)."""
        self._said_why = False
        self._facts: Conversion | None = None
        """The description of the int8 conversion in the store."""
        self._float_ms: float | None = None
        """The median run before the conversion."""
        self._swapped_at: float | None = None
        """When the new Session took over, until the log has compared it (monotonic)."""

    @property
    def _source_names(self) -> str:
        return ", ".join(each.name for each in self._state.config.all_sources.values())

    def begin(self) -> None:
        """Begin to collect frames, or find out why not: the model, the source or a setting is another one."""
        self.close()
        self._tuning, self._facts, self._swapped_at = None, None, None
        try:
            model, reason = self._find()
        except ModelError as error:
            model, reason = None, str(error)
        if model is None:
            self._phase, self._reason = "off", reason
            is_wanted = self._state.config.session.tune is True
            LOG.log(logging.WARNING if is_wanted else logging.DEBUG, "tuning: off: %s", reason)
            return
        if self._facts:
            self._phase, self._reason = "kept", f"converted at {self._facts.converted_at}"
            return
        tries = [each for each in read_tries(model) if each.problem]
        self._tries = len(tries)
        if self._gave_up(model, tries[-1].problem if tries else ""):
            return
        session, name = self._state.config.session, self._source_names
        distinct = DistinctFrames(MOST, session.tune_over_s)
        self._tuning = Tuning(self._state.config, self._store, model, distinct, self._run)
        self._phase, self._reason, self._not_before, self._said_why = "collecting", "", 0.0, False
        if not self._has_thread:
            self._has_thread = True
            start_thread("tuning", self._work_on, self._on_death)
        LOG.info(
            "tuning: collecting %d distinct frames of %s over %g s to convert %s to int8 (session.tune)",
            self._wanted, name, session.tune_over_s, model.name,
        )  # fmt: skip

    def offer(self, result: Result, is_accepted: bool) -> None:
        """Look at the frame of a result if it is due; the thread ``tuning`` then decodes it."""
        tuning, frame = self._tuning, result.frame
        if tuning is None or self._phase != "collecting" or frame is None:
            return
        is_from_source = result.ok and frame.request_id is None and not result.is_own
        if is_from_source and tuning.wants(frame.source, now := self._clock()):
            self._work.put((tuning, partial(tuning.look, frame, now)))

    def look(self, now: float) -> None:
        """Begin a conversion if there are enough frames, and log what is due at `now` (monotonic)."""
        if self._swapped_at is not None:
            self._compare(now, self._swapped_at)
        tuning = self._tuning
        if tuning is None or self._phase != "collecting" or tuning.first_at is None:
            return
        is_over = now >= tuning.first_at + self._state.config.session.tune_over_s
        if not is_over or now < self._not_before:
            return
        if len(tuning.distinct) >= self._wanted:
            self._convert(tuning)
        elif not self._said_why:
            self._said_why = True
            self._reason = why_few(tuning.distinct, self._wanted)
            LOG.warning("tuning: %s: %s", self._source_names, self._reason)

    def finish(self, outcome: ConversionOutcome) -> bool:
        """Take the end of a conversion; return whether the model is to be loaded again."""
        tuning, now = outcome.tuning, self._clock()
        if tuning is not self._tuning:
            return False  # stopped, because the model or the source is another one now
        if not outcome.problem and outcome.facts:
            self._tuning, self._facts = None, outcome.facts
            self._phase, self._reason = "kept", f"converted at {self._facts.converted_at}"
            return True
        self._phase, self._said_why = "collecting", False
        pause_s = self._state.config.session.tune_over_s
        if not outcome.is_try:
            pause_s = max(pause_s, RETRY_S)
            LOG.warning("tuning: %s; next try in %.0f min", outcome.problem, pause_s / 60)
        else:
            self._tries += 1
            if self._gave_up(tuning.model, outcome.problem):
                return False
            LOG.warning(
                "tuning: the conversion of %s to int8 is not kept: %s; next try with %d frames, in %.0f min",
                tuning.model.name, outcome.problem, self._wanted, pause_s / 60,
            )  # fmt: skip
        self._reason, self._not_before = outcome.problem, now + pause_s
        return False

    def swapped(self, problem: str = "") -> None:
        """Note that the model has been loaded again, with the conversion in the store.

        :param problem: why it could not be loaded; empty: it serves now.
        """
        if problem:
            self._reason = f"the next start uses it: {problem}"
            LOG.warning("tuning: the int8 conversion is kept, and the next start uses it: %s", problem)
        else:
            self._swapped_at = self._clock()

    def facts(self) -> dict[str, object]:
        """Return the facts of the conversion that is kept, for the latency log."""
        compared = self._compared
        if compared is None:
            return {}
        return {"agreement": f"{compared.top1_agreement:.4f}", "compared_frames": compared.images}

    def status(self) -> TuningStatus:
        """Return what the tuning is doing."""
        tuning, compared = self._tuning, self._compared
        reason = tuning.step if tuning and self._phase == "converting" else self._reason
        return TuningStatus(
            state=self._phase,
            reason=reason,
            frames=len(tuning.distinct) if tuning else 0,
            wanted=self._wanted if tuning else 0,
            tries=self._tries,
            agreement=compared.top1_agreement if compared else None,
        )

    def close(self) -> None:
        """Stop the conversion, if there is one."""
        if self._tuning:
            self._tuning.stop()

    @property
    def _compared(self) -> Comparison | None:
        return self._facts.comparison if self._facts else None

    @property
    def _wanted(self) -> int:
        return WANTED[min(self._tries, len(WANTED) - 1)]

    def _find(self) -> tuple[StoredModel | None, str]:
        """Return the model to tune, or None and the reason; set `_facts` if it has an int8 conversion."""
        loaded = self._state.loaded
        assert loaded
        model = self._store.find(loaded.base)
        reason = obstacle(self._state.config, model)
        if model is None or reason:
            return None, reason
        try:
            self._facts = open_conversion(model, "int8").facts
        except ModelError:  # missing, or to be made again
            check_library()
        return model, ""

    def _gave_up(self, model: StoredModel, problem: str) -> bool:
        if self._tries < len(WANTED):
            return False
        self._tuning = None
        self._phase, self._reason = "given_up", problem
        LOG.warning(
            "tuning: given up after %d tries to convert %s to int8, the last one because: %s",
            self._tries, model.name, problem,
        )  # fmt: skip
        return True

    def _convert(self, tuning: Tuning) -> None:
        run = self._latency.summary(self._clock()).run
        self._float_ms = run.p50_ms if run else None
        self._phase, self._reason = "converting", ""
        LOG.info(
            "tuning: converting %s to int8 with %d frames of %s, at idle priority",
            tuning.model.name, len(tuning.distinct), self._source_names,
        )  # fmt: skip
        self._work.put((tuning, lambda: self._on_outcome(tuning.convert())))

    def _compare(self, now: float, swapped_at: float) -> None:
        """Log how the new Session compares, once it has been measured."""
        run = self._latency.summary(now)
        if run.frames < MEASURED_RUNS and now < swapped_at + MEASURED_S:
            return
        self._swapped_at = None
        compared = self._compared
        assert compared and self._state.loaded
        session = self._state.loaded.facts
        p50 = f"run p50 {run.run.p50_ms:.1f} ms" if run.run else "no runs so far"
        before = f" instead of {self._float_ms:.1f}" if self._float_ms else ""
        if session.precision != "int8":
            LOG.info(
                "tuned: int8 is kept, but %s %s is faster here: %s", session.engine, session.precision, p50
            )
            return
        LOG.info(
            "tuned: %s %s, %s%s, agreement %.1f %% on %d frames of %s",
            session.engine, session.precision, p50, before,
            compared.top1_agreement * 100, compared.images, self._source_names,
        )  # fmt: skip

    def _work_on(self) -> None:
        while True:
            tuning, work = self._work.get()
            try:
                work()
            except Exception:
                # Whatever went wrong, frames are classified as before; after some tries it is given up.
                LOG.exception("tuning failed")
                self._on_outcome(ConversionOutcome(tuning, None, "it failed; see the daemon's log"))


def obstacle(config: Config, model: StoredModel | None) -> str:
    """Return why the daemon cannot tune `model` with its source; empty if it can."""
    litert = engine_of("litert")
    if config.session.tune is False:
        return "session.tune is false"
    if not config.all_sources:
        return "there is no source whose frames could calibrate"
    if config.session.engine not in ("auto", "litert"):
        return f"session.engine is {config.session.engine}"
    if model is None:
        return "the model is no longer in the store"
    if model.entry.format != "graphdef":
        return f"{model.name} is {model.entry.network_in_words}; only frozen graphs are converted"
    if not litert.is_installed:
        return f"{litert.package} is not installed; install it: {pip_install(litert.package)}"
    return ""


def why_few(distinct: DistinctFrames, wanted: int) -> str:
    """Return why there are fewer frames than `wanted`, after the time in which there should be enough."""
    if distinct.dark > distinct.looks / 2:
        return f"{distinct.dark} of {distinct.looks} frames are dark or blank"
    return f"the scene is too still: {len(distinct)} of {wanted} distinct frames so far"
