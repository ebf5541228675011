"""Tells every viewer what there is to see, for as long as there is one. Lives in the server's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from incv3d.transports.http.webui import messages
from incv3d.transports.http.webui.state import LatestResult, UiState

MOST_VIEWERS = 16
"""Each is a connection, and a few hundred bytes twice a second."""
RESULTS_EVERY_S = 0.5
"""A person sees no more than that, and a small machine has better things to do."""
FACTS_EVERY_S = 1.0
EVENTS_TOLD = 20
"""Of those that were before somebody looked."""


class TooManyViewers(Exception):
    """So many look already that no further one is let in."""


class Viewer:
    """What one viewer was not told yet. Of what it is too slow for, it gets the latest only."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self._is_over = False

    def put(self, about: str, message: bytes) -> None:
        """Tell it; a message about the same thing that still waits is replaced."""
        self._waiting.pop(about, None)
        self._waiting[about] = message
        self._changed.set()

    def end(self) -> None:
        """There is nothing more to tell."""
        self._is_over = True
        self._changed.set()

    async def take(self) -> bytes:
        """Wait for what is new; empty when it is over."""
        await self._changed.wait()
        if self._is_over:
            return b""
        self._changed.clear()
        waiting, self._waiting = self._waiting, {}
        return b"".join(waiting.values())


class Broadcast:
    """Looks at the view and tells the viewers, while there are any.

    :param hello: makes the first message for everybody.
    :param stats: how the daemon is; may take a moment, and is called in a thread.
    :param on_failure: told the error when looking fails.
    """

    def __init__(
        self,
        view: UiState,
        hello: Callable[[], bytes],
        stats: Callable[[], dict[str, Any]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._view = view
        self._hello = hello
        self._stats = stats
        self._on_failure = on_failure
        self._viewers: set[Viewer] = set()
        self._shown: dict[str, LatestResult] = {}  # what was told last, by source
        self._told_run = self._told_event = 0
        self._facts = b""
        self._task: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def join(self) -> Viewer:
        """Another one looks: it is told what there is, and then what changes.

        :raises TooManyViewers: nobody else can.
        """
        if len(self._viewers) >= MOST_VIEWERS:
            raise TooManyViewers(f"{MOST_VIEWERS} viewers look already; close another page and try again")
        if not self._viewers:
            self._begin()
        viewer = Viewer()
        viewer.put("hello", self._hello())
        runs, events = self._view.runs(), self._view.events()
        viewer.put("runs", messages.runs([run for run in runs if run.number <= self._told_run]))
        for event in events[-EVENTS_TOLD:]:
            if event.number <= self._told_event:
                viewer.put(f"event {event.number}", messages.event(event))
        for shown in self._shown.values():
            viewer.put(f"result {shown.result.source}", messages.result(shown))
        if self._facts:
            viewer.put("facts", self._facts)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """It looks no more."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self.close()

    def close(self) -> None:
        """Nobody is to look any more."""
        if self._task:
            self._task.cancel()
            self._task = None
        for viewer in self._viewers:
            viewer.end()
        self._shown.clear()

    def shown(self, source: str) -> LatestResult | None:
        """The result of `source` that viewers were told last; None while nobody looks."""
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
                next_facts = loop.time() + FACTS_EVERY_S
                self._facts = messages.facts(await asyncio.to_thread(self._stats), time.time())
                self._tell("facts", self._facts)
                self._tell_runs()
            await asyncio.sleep(RESULTS_EVERY_S)

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

    def _tell_runs(self) -> None:
        if runs := self._view.runs(self._told_run):
            self._told_run = runs[-1].number
            self._tell("runs", messages.runs(runs))

    def _tell(self, about: str, message: bytes) -> None:
        for viewer in self._viewers:
            viewer.put(about, message)
