"""Commands received over MQTT: a word, or a word and a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from incv3d.transports.mqtt.complaints import shown

Word = Literal["pause", "resume", "snapshot", "threshold"]
WORDS: tuple[Word, ...] = ("pause", "resume", "snapshot", "threshold")
LONGEST = 100
"""Bytes of a command that are read."""


class BadCommand(Exception):
    """The command is invalid."""


@dataclass(frozen=True, slots=True)
class Command:
    """``pause`` or ``resume`` classifying camera frames, take a ``snapshot``, set the ``threshold``."""

    word: Word
    score: float = 0.0
    """The score of ``threshold``."""


def parse(payload: bytes) -> Command:
    """Read one command: ``pause``, ``threshold 0.4``.

    :raises BadCommand: it is invalid; the message says why.
    """
    text = payload[:LONGEST].decode("utf-8", "replace")
    name, *rest = text.split() or [""]
    word = next((word for word in WORDS if word == name), None)
    said = shown(text)
    if word is None:
        raise BadCommand(f"unknown command `{said}`; possible are {', '.join(WORDS)}")
    if word != "threshold":
        if rest:
            raise BadCommand(f"`{said}`: {word} takes no value")
        return Command(word)
    try:
        (score,) = map(float, rest)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise BadCommand(f"`{said}`: threshold takes a score from 0 to 1, as in `threshold 0.4`")
    return Command(word, score)
