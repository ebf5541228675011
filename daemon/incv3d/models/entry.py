"""What is to be known of a model in order to run it: its tensors, its input, its labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from incv3d.config.preprocessing import Interpolation, PerChannel, channel_ranges
from incv3d.errors import Incv3dError

Positive = Annotated[int, msgspec.Meta(gt=0)]


class ModelError(Incv3dError):
    """A model is missing, damaged, or not what it is said to be."""


@contextlib.contextmanager
def for_a_person() -> Iterator[None]:
    """Mark what is raised in the block as something that only a person can correct."""
    try:
        yield
    except ModelError as error:
        error.is_lasting = True
        raise


class InGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A graph that decodes and resizes by itself, as Google's of 2015 does: where it is fed then."""

    jpeg: str
    """The tensor that takes a JPEG's bytes, ``DecodeJpeg/contents:0``."""
    picture: str
    """The tensor that takes ``(height, width, 3) uint8`` RGB of any size, ``DecodeJpeg:0``."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A picture whose answer is known: a model that gives another one is not the model it should be."""

    picture: str
    """A file beside the model's graph in the store."""
    label: str
    """The label, or the synset, that must come first."""
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """None: whatever its score."""
    tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    """How far the score may be off."""


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The facts of one model. Pixels, 0 to 255, reach the network as ``(pixel - mean) / scale``."""

    format: Literal["graphdef", "tflite"] = "graphdef"
    """What the store keeps: a frozen GraphDef, or a LiteRT flatbuffer."""
    input: str
    """The tensor that takes ``(1, height, width, channels) float32``, ``Mul:0``."""
    output: str
    """The tensor that gives one score a class, ``softmax:0``."""
    height: Positive
    width: Positive
    channels: Literal[1, 3] = 3
    """1: the network takes the luma of a picture."""
    mean: PerChannel
    scale: PerChannel
    pixels_from: str = ""
    """Why `mean` and `scale` are what they are, for people; empty: they are those of a known network."""
    caution: str = ""
    """What may be wrong with a network of the user's, for people; the log repeats it at every start."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    """``nchw``: the input is ``(1, channels, height, width)``."""
    fit: Literal["stretch", "crop"]
    """``stretch``: the whole picture, whatever its shape; ``crop``: its central square."""
    crop_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """``crop``: the side of the square as a fraction of the picture's shorter side."""
    resize_to: Annotated[int, msgspec.Meta(ge=0)] = 0
    """``crop``: the picture is resized until its shorter side is so long, and its centre is cut out then,
    as torchvision's ``Resize`` and ``CenterCrop`` do it; 0: the square is cut out first."""
    interpolation: Interpolation
    outputs: Positive
    """How many labels there are: one for each score, two for a `binary` network."""
    scores: Literal["probabilities", "logits"] = "probabilities"
    """What the network gives; logits become probabilities by a softmax."""
    binary: bool = False
    """Whether the network gives one score only, that of the second of its two labels."""
    in_graph: InGraph | None = None
    """None: the graph takes pixels only."""
    golden: Golden | None = None
    url: str = ""
    """Where the archive is fetched from; empty for a model that is not fetched."""
    archive_bytes: Positive | None = None
    """Size of the file that the model is imported from; None for one that incv3d builds itself."""
    archive_sha256: str = ""
    """Of that file; empty where none was published: then the first fetch records it."""
    graph_bytes: Positive | None = None
    """Size of the frozen graph in it."""
    licence: str = ""
    source: str = ""
    """Where the model comes from, for people."""

    def __post_init__(self) -> None:
        for per_channel in (self.mean, self.scale):
            if isinstance(per_channel, tuple) and len(per_channel) != self.channels:
                raise ValueError(f"{len(per_channel)} numbers for {self.channels} channels")

    @property
    def scores_given(self) -> int:
        """How many scores a run of the network gives."""
        return 1 if self.binary else self.outputs

    @property
    def pixel_ranges(self) -> list[tuple[float, float]]:
        """What 0 and 255 become: one pair for all channels, or one for each."""
        return channel_ranges(self.mean, self.scale)

    @property
    def pixels_in_words(self) -> str:
        """What pixels become and why: ``0 to 255 become -1 to 1 (assumed: the file does not say)``."""
        ranges = " | ".join(f"{low:.5g} to {high:.5g}" for low, high in self.pixel_ranges)
        why = f" ({self.pixels_from})" if self.pixels_from else ""
        return f"0 to 255 become {ranges}{why}"
