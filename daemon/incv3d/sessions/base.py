"""The ``Session`` protocol: what every engine offers, and what it is opened with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from incv3d.errors import Incv3dError

Pixels = npt.NDArray[np.float32]
"""``(1, height, width, 3) float32``, in the range that the model was trained with."""
Scores = npt.NDArray[np.float32]
"""``(outputs,) float32``."""


class SessionError(Incv3dError):
    """A Session could not be opened, or a run failed."""


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """Which graph to open, where to feed and fetch it, and with how many threads."""

    graph: Path
    """A frozen GraphDef."""
    input: str
    """The tensor that takes the pixels, ``Mul:0``."""
    output: str
    """The tensor that gives the scores, ``softmax:0``."""
    height: int
    width: int
    threads: int
    """Cores that one run may use; at least 1."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What opening a Session took, and what runs it: for the log and for ``info``."""

    engine: str
    """The engine's name as the configuration spells it, ``tensorflow``."""
    binding: str
    """How the library is called: its ``C API``, or its ``Python`` package."""
    version: str
    """The version that the library itself reports."""
    threads: int
    import_ms: float
    """Loading the library."""
    build_ms: float
    """Reading, parsing and importing the graph, and making the Session."""


class Session(Protocol):
    """A model that is loaded and stays loaded.

    One thread at a time calls :meth:`run`; the interpreter lock is released while the library works.
    """

    @property
    def facts(self) -> SessionFacts:
        """What was opened."""

    def run(self, pixels: Pixels) -> Scores:
        """Classify one picture.

        :param pixels: ``(1, height, width, 3) float32``.
        :returns: ``(outputs,) float32``, one score a class.
        :raises SessionError: when the library reports a failure.
        """

    def close(self) -> None:
        """Give the library's memory back. The Session cannot be used afterwards."""
