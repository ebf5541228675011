"""The ``Session`` protocol: what every engine offers, and what it is opened with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from incv3d.errors import Incv3dError

Pixels = npt.NDArray[np.float32]
"""``(1, height, width, channels) float32``, or ``(1, channels, height, width)`` for a network of that layout,
in the range that the model was trained with."""
ImageArray = npt.NDArray[np.uint8]
"""``(height, width, 3) uint8`` RGB of any size; may be a view."""
Feed = Pixels | ImageArray | bytes
"""What a run takes: pixels; or, where the graph decodes and resizes by itself, a picture or a JPEG."""
Scores = npt.NDArray[np.float32]
"""``(outputs,) float32``."""


class SessionError(Incv3dError):
    """A Session could not be opened, or a run failed."""


class UnusableNetwork(SessionError):
    """A network's file is damaged, or its network cannot run here."""

    is_lasting = True


class BadFeed(SessionError):
    """What was fed cannot be run: a damaged JPEG, say. The Session itself is well."""


EngineName = Literal["tensorflow", "litert"]
ModelFormat = Literal["graphdef", "tflite"]


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """Which network to open, where to feed and fetch it, and with how many threads."""

    file: Path
    """A frozen GraphDef or a LiteRT flatbuffer."""
    format: ModelFormat
    input: str
    """The tensor that takes the pixels, ``Mul:0``; empty, for a flatbuffer: the only one."""
    output: str
    """The tensor that gives the scores, ``softmax:0``; empty, for a flatbuffer: the only one."""
    height: int
    width: int
    threads: int
    """Cores that one run may use; at least 1."""
    layout: Literal["nhwc", "nchw"] = "nhwc"
    channels: Literal[1, 3] = 3
    jpeg_input: str = ""
    """The tensor that takes a JPEG's bytes; empty: the graph has none."""
    picture_input: str = ""
    """The tensor that takes a picture of any size; empty: the graph has none."""
    cache_filters: bool = False
    """Whether TensorFlow may keep a second copy of the filters, in the processor's layout, to run faster."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Of the pixels."""
        if self.layout == "nchw":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


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
    precision: str = "float32"
    """What the network computes with; ``int8`` where it is quantised."""
    reentrant: bool = False
    """Whether several threads may run it at once."""


class Session(Protocol):
    """A model that is loaded and stays loaded.

    One thread at a time calls :meth:`run`, unless its facts say that several may; the interpreter lock is
    released while the library works.
    """

    @property
    def facts(self) -> SessionFacts:
        """What was opened."""

    def run(self, feed: Feed) -> Scores:
        """Classify one picture.

        :param feed: pixels of the model's shape; an engine whose graph decodes and resizes by itself also
            takes a picture or a JPEG.
        :returns: ``(outputs,) float32``, one score a class.
        :raises BadFeed: when what is fed cannot be run.
        :raises SessionError: when the library reports a failure.
        """

    def close(self) -> None:
        """Give the library's memory back. The Session cannot be used afterwards."""


SpareMemory = Callable[[], float | None]
"""Returns how much memory this process can still use, MiB; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What an engine states about itself. The module that defines it must not import the library."""

    name: EngineName
    """The word for it in ``session.engine``."""
    format: ModelFormat
    """The format of the stored models that it runs."""
    module: str
    """The library's import name."""
    package: str
    """The name of its distribution."""
    open: Callable[[SessionSpec, Path | None, SpareMemory], Session]
    """Opens a Session, see :func:`incv3d.engines.open_session`."""
    needed_mb: Callable[[float], float]
    """Returns about how much memory a daemon needs at most, MiB, given the network's size in MiB."""
