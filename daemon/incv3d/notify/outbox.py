"""Messages that wait to be sent, on the disk: they survive a network that is away, and a restart."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from incv3d.errors import Incv3dError
from incv3d.notify.rules import Memory

MOST_WAITING = 100
"""Messages; beyond it the oldest are dropped and counted."""
MEMORY = "memory.json"


class OutboxError(Incv3dError):
    """The folder of waiting messages cannot be used."""


class Message(msgspec.Struct):
    """A notification."""

    title: str
    body: str
    at_s: float
    """When it happened, in seconds since 1970."""
    unsent: list[str] | None = None
    """The services that have not got it yet, by :attr:`Service.id`; None: none has."""


class Outbox:
    """A folder with the waiting messages, the oldest first, each with its image. For one thread.

    Every method raises OSError if the disk fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dropped = 0

    def open(self) -> None:
        """Create the folder, and remove what a power cut left unfinished."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(".*"):
            left.unlink(missing_ok=True)

    def __len__(self) -> int:
        """Return the number of waiting messages."""
        return len(self._numbers())

    def add(self, message: Message, image: bytes) -> None:
        """Add a message.

        :param image: a JPEG; empty: it has none.
        """
        numbers = self._numbers()
        for number in numbers[: max(0, len(numbers) - MOST_WAITING + 1)]:
            self.remove(number)
            self.dropped += 1
        number = numbers[-1] + 1 if numbers else 1
        if image:
            self._write(f"{number:08d}.jpg", image)
        self._write(f"{number:08d}.json", msgspec.json.encode(message))

    def first(self) -> tuple[int, Message, Path | None] | None:
        """Return number, message and image of the oldest message; None: nothing waits."""
        for number in self._numbers():
            try:
                content = (self._folder / f"{number:08d}.json").read_bytes()
                message = msgspec.json.decode(content, type=Message)
            except (FileNotFoundError, msgspec.DecodeError):
                self.remove(number)
                continue
            image = self._folder / f"{number:08d}.jpg"
            return number, message, image if image.exists() else None
        return None

    def update(self, number: int, message: Message) -> None:
        """Replace a message."""
        self._write(f"{number:08d}.json", msgspec.json.encode(message))

    def remove(self, number: int) -> None:
        """Remove a message."""
        for suffix in ("json", "jpg"):
            (self._folder / f"{number:08d}.{suffix}").unlink(missing_ok=True)

    def memory(self) -> Memory:
        """Return what the rules remember; nothing if it is damaged."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode((self._folder / MEMORY).read_bytes(), type=Memory)
        return Memory()

    def remember(self, memory: Memory) -> None:
        """Keep what the rules remember."""
        self._write(MEMORY, msgspec.json.encode(memory))

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(each.stem) for each in self._folder.glob("*.json") if each.stem.isdigit())

    def _write(self, name: str, content: bytes) -> None:
        unfinished = self._folder / f".{name}"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._folder / name)
