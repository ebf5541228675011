"""What the fuzzers of all doors share: the sums, the good frame, and what every answer has to be."""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import Any

from all_doors import AllDoors
from incv3d.frames import Refusal
from message_strategies import PICTURES, mutated

MAX_MESSAGE_BYTES = 200_000
"""The daemon's limit here: small, so that going over it is cheap."""
PATIENCE_S = 60
"""A request without an answer for so long is unanswered."""
BUSY_PAUSE_S = 0.05

VALUES = [
    "",
    "0",
    "1",
    "-1",
    "3",
    "64",
    "1e308",
    "nan",
    "inf",
    "null",
    "true",
    "jpeg",
    "rgb24",
    "9" * 400,
    "[1]",
    "grey",
]
"""Of the words that describe a frame, right and wrong ones."""
Labels = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class GoodFrame:
    """A picture, and what the daemon said of it before the fuzzing began."""

    picture: bytes
    labels: Labels


class Fuzzer(ABC):
    """Sends generated requests to one door, and counts what becomes of them.

    :param good: sent in between; it must get its own labels each time.
    :param end: set when another door has failed.
    """

    name: str

    def __init__(self, doors: AllDoors, good: GoodFrame, end: threading.Event) -> None:
        self.doors = doors
        self.good = good
        self.end = end
        self.sent: Counter[str] = Counter()
        """Requests that must get one answer each, by kind."""
        self.answers: Counter[str] = Counter()
        """Their answers, by code."""
        self.good_answers = 0
        """Good frames in between that got their labels."""
        self.uncounted = 0
        """Requests that need not get an answer."""

    @abstractmethod
    def round(self, seed: int) -> None:
        """Send some requests, wait for all the answers, see that a good frame gets its labels.

        :raises AssertionError: the daemon did something that it must not do.
        """

    @abstractmethod
    def close(self) -> None:
        """See that nothing more comes, and close the connections.

        :raises AssertionError: an answer too many came.
        """

    def pause_if_busy(self, answer: dict[str, Any]) -> bool:
        """Whether a good frame was refused because others fill the queue; returns after a pause."""
        is_busy = answer.get("code") == "busy"
        if is_busy:
            self.end.wait(BUSY_PAUSE_S)
        return is_busy

    def expect_labels(self, answer: dict[str, Any]) -> None:
        """Check the answer to the good frame."""
        found = [(each["label"], each["score"]) for each in answer.get("predictions", ())]
        assert found == self.good.labels, f"a good frame got other labels than at first: {answer}"
        self.good_answers += 1

    @staticmethod
    def code_of(answer: dict[str, Any]) -> str:
        """The code of a well-formed answer: ``ok``, an operation, or a refusal with one line of detail."""
        assert answer["v"] == 1 and "id" in answer, answer
        if answer["status"] == "ok":
            assert answer.get("predictions") or answer.get("op"), answer
            return "ok" if "predictions" in answer else str(answer["op"])
        detail = answer["detail"]
        assert isinstance(detail, str) and detail and "\n" not in detail, answer
        refusal = Refusal(answer["code"])
        assert refusal is not Refusal.INTERNAL, answer
        return refusal.value


def some_picture(rng: random.Random) -> bytes:
    """A picture: whole, with a few bytes changed, or none at all."""
    picture = rng.choice(sorted(PICTURES.values()))
    match rng.randrange(4):
        case 0:
            return picture
        case 1 | 2:
            return b"".join(mutated([picture], rng))
        case _:
            return rng.randbytes(rng.randrange(300))
