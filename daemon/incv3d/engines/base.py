"""Define the ``Session`` protocol that every engine implements, and its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from incv3d.errors import Incv3dError

Pixels = npt.NDArray[np.float32]
"""``(1, height, width, channels) float32``, or ``(1, channels, height, width)`` for the layout ``nchw``, in
the range that the model was trained with."""
ImageArray = npt.NDArray[np.uint8]
"""``(height, width, 3) uint8`` RGB of any size; may be a view."""
Feed = Pixels | ImageArray | bytes
"""The input of a run: pixels or, if the graph decodes and resizes by itself, an image or a JPEG."""
Scores = npt.NDArray[np.float32]
"""``(outputs,) float32``."""
Features = npt.NDArray[np.float32]
"""``(n,) float32``: the input of a network's last layer. Empty: the network has none that can be found."""
FEATURES = "incv3d_features"
"""The name of the output of a flatbuffer or an ONNX network that returns its features."""
LEAST_FEATURES = 16
"""A shorter vector says too little of an image to teach from."""


class SessionError(Incv3dError):
    """A Session could not be opened, or a run failed."""


class UnusableNetwork(SessionError):
    """A network's file is damaged, or its network cannot run here."""

    is_lasting = True


class BadFeed(SessionError):
    """The input cannot be run, because a JPEG is damaged for example. The Session itself is fine."""


EngineName = Literal["tensorflow", "litert", "onnx"]
ModelFormat = Literal["graphdef", "tflite", "onnx"]


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """The network to open, its input and output tensors, and the number of threads."""

    file: Path
    """A frozen GraphDef, a LiteRT flatbuffer or an ONNX network."""
    format: ModelFormat
    input: str
    """The tensor for the pixels, such as ``Mul:0``; empty, except for a GraphDef: the only one."""
    output: str
    """The tensor of the scores, such as ``softmax:0``; empty, likewise: the only one."""
    height: int
    width: int
    threads: int
    """Cores that one run may use; at least 1."""
    layout: Literal["nhwc", "nchw"] = "nhwc"
    channels: Literal[1, 3] = 3
    jpeg_input: str = ""
    """The tensor for a JPEG's bytes; empty: the graph has none."""
    image_input: str = ""
    """The tensor for an image of any size; empty: the graph has none."""
    features: str = ""
    """The tensor of the features in a GraphDef, such as ``pool_3/_reshape:0``; empty: none. The other formats
    have an output for them (:data:`FEATURES`)."""
    cache_filters: bool = False
    """Whether TensorFlow may keep a second copy of the filters, in the processor's layout, to run faster."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape of the pixels."""
        if self.layout == "nchw":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """Facts about an open Session, for the log and for ``info``."""

    engine: str
    """The engine's name as in the configuration, such as ``tensorflow``."""
    binding: str
    """The interface to the library: its ``C API`` or its ``Python`` package."""
    version: str
    """The version reported by the library."""
    threads: int
    import_ms: float
    """Time to load the library."""
    build_ms: float
    """Time to read, parse and import the graph, and to create the Session."""
    precision: str = "float32"
    """The number format of the computation; ``int8`` for a quantized network."""
    reentrant: bool = False
    """Whether several threads may run it at once."""
    features: int = 0
    """The length of the features that a run returns; 0: this network has none that can be found."""


class Session(Protocol):
    """A model that is loaded and stays loaded.

    Only one thread may run it at a time, unless the facts say that several may. The GIL is released
    while the library works.
    """

    @property
    def facts(self) -> SessionFacts:
        """Facts about the Session."""

    def run(self, feed: Feed) -> Scores:
        """Classify one image.

        :param feed: pixels of the model's shape; an engine whose graph decodes and resizes by itself also
            takes an image or a JPEG.
        :returns: ``(outputs,) float32``, one score per class.
        :raises BadFeed: the input cannot be run.
        :raises SessionError: the library reports a failure.
        """

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        """Classify one image like :meth:`run`, and return the features of it, too.

        Both methods run the same: the features cost nothing more.

        :returns: the scores, and ``(n,) float32`` with ``n`` as in the facts; empty if that is 0.
        """

    def close(self) -> None:
        """Free the library's memory. The Session cannot be used afterwards."""


SpareMemory = Callable[[], float | None]
"""Returns how much memory this process can still use, MiB; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The facts about an engine. The module that defines it must not import the library."""

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
    """Returns the approximate peak memory of a daemon in MiB, given the network's size in MiB."""
    fixes_threads: bool = False
    """Whether the first Session in a process determines the number of threads of all later ones."""

    @property
    def is_installed(self) -> bool:
        """Whether its library is there; it is not imported."""
        return find_spec(self.module) is not None


def is_feature_vector(shape: Sequence[int]) -> bool:
    """Return whether a tensor of this shape may be a network's features: a vector that is long enough."""
    return len(shape) > 0 and LEAST_FEATURES <= max(shape) == math.prod(shape)


def check_pixels(feed: Feed, shape: tuple[int, ...]) -> Pixels:
    """Return `feed`, for an engine that takes nothing but float32 of `shape`.

    :raises BadFeed: it is something else.
    """
    if isinstance(feed, bytes) or feed.dtype != np.float32 or feed.shape != shape:
        given = "bytes" if isinstance(feed, bytes) else f"{feed.dtype} of shape {feed.shape}"
        raise BadFeed(f"the model takes float32 of shape {shape}, but got {given}")
    return feed.astype(np.float32, copy=False)
