"""The topics of one daemon."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from incv3d.transports.mqtt.errors import MqttError


@dataclass(frozen=True, slots=True)
class Topics:
    """Where one daemon publishes and listens: ``PREFIX/NAME/...``."""

    prefix: str
    name: str

    @property
    def availability(self) -> str:
        """``online`` or ``offline``, retained; the broker itself says ``offline`` when the daemon is gone."""
        return self._of("availability")

    @property
    def state(self) -> str:
        """How the daemon is, as JSON, retained."""
        return self._of("state")

    @property
    def command(self) -> str:
        """Where it is told what to do."""
        return self._of("command")

    def result(self, source: str) -> str:
        """The results of a source, as JSON."""
        return self._of(f"result/{source}")

    def event(self, source: str) -> str:
        """What enters and leaves the picture of a source, as JSON."""
        return self._of(f"event/{source}")

    def image(self, source: str) -> str:
        """The picture of a source, as JPEG."""
        return self._of(f"image/{source}")

    def _of(self, rest: str) -> str:
        return f"{self.prefix}/{self.name}/{rest}"


def own_name(configured: str) -> str:
    """The name of this daemon: as configured, or the host's."""
    return configured or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0]) or "incv3d"


def check_frames(filter_: str, topics: Topics) -> None:
    """Raise MqttError if `filter_`, where frames come from, takes what this daemon itself publishes.

    A filter that names no daemon (``PREFIX/+/...``) takes what the others publish, too.
    """
    from paho.mqtt.client import topic_matches_sub

    # A filter that ends with the name of a source takes what comes of that one.
    source = filter_.rpartition("/")[2].strip("+#") or "x"
    own = (
        topics.result(source),
        topics.event(source),
        topics.image(source),
        topics.state,
        topics.availability,
        topics.command,
    )
    if any(topic_matches_sub(filter_, topic) for topic in own):
        raise MqttError(f"mqtt.frames: `{filter_}` would take what daemons publish for frames")
