"""Train a taught model in a child process, which is the command that a person would type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from incv3d.models.prepare import ChildError, run_child
from incv3d.transports.teaching import TrainingProgress

COMMAND = "incv3d"
FOR_DAEMON = {"INCV3D_TEACH_FOR_ROOT": "1"}
"""The child does not tell the daemon, which started it."""


class TrainingChild:
    """Runs ``incv3d teach --name NAME --json``, at idle priority.

    :param config: the daemon's configuration file; None: there is none.
    """

    def __init__(self, config: Path | None) -> None:
        self._config = config
        self._stop: Callable[[], None] | None = None

    def __call__(self, name: str, force: bool, heard: Callable[[TrainingProgress], None]) -> str:
        """Train the taught model `name`; return why the result was not taken over, empty if it was.

        :param heard: called with each step.
        :raises Incv3dError: it failed.
        """
        verdict: dict[str, Any] = {}

        def listen(line: str) -> None:
            told = msgspec.json.decode(line)
            if "step" in told:
                heard(msgspec.convert(told, TrainingProgress))
            else:
                verdict.update(told)

        words = ["teach", "--name", name, "--json", *(["--force"] if force else [])]
        if self._config:
            words += ["--config", str(self._config)]
        try:
            run_child(COMMAND, words, FOR_DAEMON, listen, self._started)
        except ChildError as error:
            if "problem" not in verdict:
                raise ChildError(str(error).removeprefix("incv3d: "), error.status) from None
        finally:
            self._stop = None
        return str(verdict.get("problem", ""))

    def stop(self) -> None:
        """Stop the training, if there is one. Any thread may call this."""
        if stop := self._stop:
            stop()

    def _started(self, stop: Callable[[], None]) -> None:
        self._stop = stop
