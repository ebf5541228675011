"""What a part of the daemon that acts on events offers to the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from incv3d.config.schema import Config
from incv3d.events.labelled_image import ImageToSave
from incv3d.frames import Frame
from incv3d.protocol.events import EventMessage


class EventListener(Protocol):
    """Acts on labels that enter and leave: it keeps them, tells somebody, or switches something.

    Events and images come from any thread: to take one must not wait for a disk, a network or a device. The
    main thread calls the other methods.
    """

    def take_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Take an event, and the frame that caused it; None: no frame did."""

    def take_image(self, image: ImageToSave, path: Path) -> None:
        """Take note of an image that was saved."""

    def reconfigure(self, config: Config) -> None:
        """Use a new configuration from now on."""

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """Do what is due at `now` (monotonic); called about once a second.

        :param states: the state of each source, by its name; ``paused`` if all are.
        """

    def status(self) -> dict[str, Any]:
        """Return what ``stats`` says of this part, by its key; any thread may call this."""

    def close(self, deadline: float) -> None:
        """End, before `deadline` (monotonic) if possible."""
