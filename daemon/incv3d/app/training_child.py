"""Train a taught model in a child process, which is the command that a person would type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from incv3d.models.prepare import ChildError, run_child
from incv3d.teaching import CALLER_TELLS
from incv3d.transports.teaching import TrainingProgress


def run_training(
    config: Path | None, name: str, force: bool, heard: Callable[[TrainingProgress], None]
) -> str:
    """Run ``incv3d teach --name NAME --json``, at idle priority.

    :param config: the daemon's configuration file; None: it runs without one.
    :param force: keep the head even if it is worse than the one before.
    :param heard: called with each step.
    :returns: why the head was not kept; empty: it was.
    :raises Incv3dError: the training failed.
    """
    verdict: dict[str, Any] = {}

    def listen(line: str) -> None:
        if not line.startswith("{"):
            return  # a library's own words
        told = msgspec.json.decode(line)
        if "step" in told:
            heard(msgspec.convert(told, TrainingProgress))
        else:
            verdict.update(told)

    words = ["teach", "--name", name, "--json", *(["--force"] if force else [])]
    if config:
        words += ["--config", str(config)]
    try:
        run_child("incv3d", words, {CALLER_TELLS: "1"}, listen)
    except ChildError as error:
        if "problem" not in verdict:
            raise ChildError(str(error).removeprefix("incv3d: "), error.status) from None
    return str(verdict.get("problem", ""))
