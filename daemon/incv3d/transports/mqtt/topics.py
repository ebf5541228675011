"""Topic names of one daemon."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from incv3d.transports.errors import SettingError


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below ``PREFIX/NAME/``."""

    prefix: str
    name: str

    @property
    def availability(self) -> str:
        """Return the topic of ``online`` and ``offline``, retained; the latter is the will."""
        return self._of("availability")

    @property
    def state(self) -> str:
        """Return the topic of the daemon's state, as JSON, retained."""
        return self._of("state")

    @property
    def command(self) -> str:
        """Return the topic of commands to the daemon."""
        return self._of("command")

    def result(self, source: str) -> str:
        """Return the topic of a source's results, as JSON."""
        return self._of(f"result/{source}")

    def event(self, source: str) -> str:
        """Return the topic of a source's events, as JSON."""
        return self._of(f"event/{source}")

    def image(self, source: str) -> str:
        """Return the topic of a source's images, as JPEG."""
        return self._of(f"image/{source}")

    def _of(self, rest: str) -> str:
        return f"{self.prefix}/{self.name}/{rest}"


def own_name(configured: str) -> str:
    """Return the name of this daemon: the configured one, or that of the host."""
    return configured or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0]) or "incv3d"


def check_frames(filter_: str, topics: Topics) -> None:
    """Check that the topics of frames are not those that daemons publish.

    A filter without a daemon's name (``PREFIX/+/...``) matches what other daemons publish, too.

    :param filter_: the topics that frames are taken from.
    :raises SettingError: it matches what this daemon publishes.
    """
    from paho.mqtt.client import topic_matches_sub

    # A filter that ends with the name of a source matches what is published of that one.
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
        raise SettingError(f"mqtt.frames: `{filter_}` would take what daemons publish for frames")
