"""What a daemon can be told over MQTT: a word, or a word and a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from incv3d.transports.mqtt.complaints import shown

Word = Literal["pause", "resume", "snapshot", "threshold"]
WORDS: tuple[Word, ...] = ("pause", "resume", "snapshot", "threshold")
LONGEST = 100
"""Bytes of a command that are looked at."""


class BadCommand(Exception):
    """It is none of ours; the message says so."""


@dataclass(frozen=True, slots=True)
class Command:
    """``pause`` and ``resume`` what the camera brings, a ``snapshot`` of it, a ``threshold`` for labels."""

    word: Word
    score: float = 0.0
    """Of ``threshold``."""


def parse(payload: bytes) -> Command:
    """Read one command: ``pause``, ``threshold 0.4``.

    :raises BadCommand: with what is wrong.
    """
    text = payload[:LONGEST].decode("utf-8", "replace")
    name, *rest = text.split() or [""]
    word = next((word for word in WORDS if word == name), None)
    said = shown(text)
    if word is None:
        raise BadCommand(f"`{said}` is no command; possible are {', '.join(WORDS)}")
    if word != "threshold":
        if rest:
            raise BadCommand(f"`{said}`: {word} stands alone")
        return Command(word)
    try:
        (score,) = map(float, rest)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise BadCommand(f"`{said}`: a threshold is a score, as `threshold 0.4`")
    return Command(word, score)
