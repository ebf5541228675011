"""Stream updates to connected browsers. Everything here runs in the server's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from incv3d.transports.http.webui import messages
from incv3d.transports.http.webui.state import LatestResult, UiState
from incv3d.transports.teaching import TeachingStatus

MOST_VIEWERS = 16
"""Each takes a connection, and a few hundred bytes twice a second."""
RESULTS_INTERVAL_S = 0.5
"""Faster updates would not help a person, and cost a small machine time."""
FACTS_INTERVAL_S = 1.0
PAST_EVENTS = 20
"""Past events sent to a new viewer."""


class TooManyViewers(Exception):
    """The limit of viewers is reached."""


class Viewer:
    """The messages that one viewer has not got yet. A slow one gets only the latest of each kind."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self._is_over = False

    def put(self, about: str, message: bytes) -> None:
        """Queue a message; replace one about the same thing that is still queued."""
        self._waiting.pop(about, None)
        self._waiting[about] = message
        self._changed.set()

    def end(self) -> None:
        """End the stream."""
        self._is_over = True
        self._changed.set()

    async def take(self) -> bytes:
        """Wait for messages, and return them; return b"" at the end of the stream."""
        await self._changed.wait()
        if self._is_over:
            return b""
        self._changed.clear()
        waiting, self._waiting = self._waiting, {}
        return b"".join(waiting.values())


class Broadcast:
    """Check the state regularly, and send changes to the viewers, while there are any.

    :param hello: returns the first message for every viewer.
    :param stats: returns the answer to ``stats``; it may take a moment, and is called in a thread.
    :param teaching: returns the state of the teaching set; called in a thread, too.
    :param on_failure: called with the error when the check fails.
    """

    def __init__(
        self,
        view: UiState,
        hello: Callable[[], bytes],
        stats: Callable[[], dict[str, Any]],
        teaching: Callable[[], TeachingStatus],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._view = view
        self._hello = hello
        self._stats = stats
        self._teaching = teaching
        self._on_failure = on_failure
        self._viewers: set[Viewer] = set()
        self._shown: dict[str, LatestResult] = {}  # what was sent last, by source
        self._told_run = self._told_event = 0
        self._facts = b""
        self._told_teaching: TeachingStatus | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """Return the number of viewers."""
        return len(self._viewers)

    def join(self) -> Viewer:
        """Add a viewer, which gets the current state, and then the changes.

        :raises TooManyViewers: the limit is reached.
        """
        if len(self._viewers) >= MOST_VIEWERS:
            raise TooManyViewers(f"{MOST_VIEWERS} browsers are connected; close another page and try again")
        if not self._viewers:
            self._begin()
        viewer = Viewer()
        viewer.put("hello", self._hello())
        runs, events = self._view.runs(), self._view.events()
        viewer.put("past runs", messages.runs([run for run in runs if run.number <= self._told_run]))
        for event in events[-PAST_EVENTS:]:
            if event.number <= self._told_event:
                viewer.put(f"event {event.number}", messages.event(event))
        for shown in self._shown.values():
            viewer.put(f"result {shown.result.source}", messages.result(shown))
        if self._facts:
            viewer.put("facts", self._facts)
        if self._told_teaching:
            viewer.put("teaching", messages.teaching(self._told_teaching))
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self.close()

    def close(self) -> None:
        """End all streams."""
        if self._task:
            self._task.cancel()
            self._task = None
        for viewer in self._viewers:
            viewer.end()
        self._shown.clear()

    def shown(self, source: str) -> LatestResult | None:
        """Return the latest result of `source` that was sent; None: there is none, or no viewer."""
        return self._shown.get(source)

    def _begin(self) -> None:
        self._facts = b""
        runs, events = self._view.runs(), self._view.events()
        self._told_run = runs[-1].number if runs else 0
        self._told_event = events[-1].number if events else 0
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._on_failure(error)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_facts = loop.time()
        while True:
            self._tell_results()
            self._tell_events()
            if loop.time() >= next_facts:
                next_facts = loop.time() + FACTS_INTERVAL_S
                self._facts = messages.facts(await asyncio.to_thread(self._stats), time.time())
                self._tell("facts", self._facts)
                self._tell_teaching(await asyncio.to_thread(self._teaching))
                self._tell_runs()
            await asyncio.sleep(RESULTS_INTERVAL_S)

    def _tell_results(self) -> None:
        latest = self._view.latest()
        for gone in self._shown.keys() - {shown.result.source for shown in latest}:
            del self._shown[gone]
            self._tell(f"result {gone}", messages.gone(gone))
        for shown in latest:
            source = shown.result.source
            if self._shown.get(source) is not shown:
                self._shown[source] = shown
                self._tell(f"result {source}", messages.result(shown))

    def _tell_events(self) -> None:
        for event in self._view.events(self._told_event):
            self._told_event = event.number
            self._tell(f"event {event.number}", messages.event(event))

    def _tell_teaching(self, status: TeachingStatus) -> None:
        if status != self._told_teaching:
            self._told_teaching = status
            self._tell("teaching", messages.teaching(status))

    def _tell_runs(self) -> None:
        if runs := self._view.runs(self._told_run):
            self._told_run = runs[-1].number
            self._tell(f"runs {self._told_run}", messages.runs(runs))

    def _tell(self, about: str, message: bytes) -> None:
        for viewer in self._viewers:
            viewer.put(about, message)
