"""The parts that act on events, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from incv3d.clips.recorder import ClipRecorder
from incv3d.config.schema import Config
from incv3d.events.labelled_image import ImageToSave
from incv3d.events.listener import EventListener
from incv3d.events.outputs import Outputs
from incv3d.frames import Frame
from incv3d.history.recorder import create_recorder
from incv3d.notify.notifier import create_notifier
from incv3d.protocol.events import EventMessage
from incv3d.sources.recorded import Record
from incv3d.threads import OnDeath


class EventListeners:
    """Hands everything on to each of the listeners, in their order.

    :param record: gets every packet that a camera encoded; None: nobody wants them.
    """

    def __init__(self, listeners: Sequence[EventListener], record: Record | None = None) -> None:
        self._listeners = listeners
        self.record = record

    def take_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Hand on an event."""
        for each in self._listeners:
            each.take_event(event, frame)

    def take_image(self, image: ImageToSave, path: Path) -> None:
        """Hand on an image that was saved."""
        for each in self._listeners:
            each.take_image(image, path)

    def reconfigure(self, config: Config) -> None:
        """Let each use a new configuration."""
        for each in self._listeners:
            each.reconfigure(config)

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """Let each do what is due."""
        for each in self._listeners:
            each.look(now, states)

    def status(self) -> dict[str, Any]:
        """Return what ``stats`` says of them."""
        return {key: value for each in self._listeners for key, value in each.status().items()}

    def close(self, deadline: float) -> None:
        """End all."""
        for each in self._listeners:
            each.close(deadline)


def create_event_listeners(config: Config, folder: Path, on_death: OnDeath) -> EventListeners:
    """Return the parts of the daemon that act on events.

    :param folder: the state directory, where they keep their files.
    :param on_death: called with the name of a thread of theirs and the error when it dies.
    """
    history = create_recorder(config, folder, on_death)
    notifier = create_notifier(config, folder, on_death)
    outputs = Outputs(config)
    if not config.clips.folder:
        return EventListeners([outputs, history, notifier])
    clips = ClipRecorder(config.clips, on_death)
    return EventListeners([outputs, history, notifier, clips], clips.record)
