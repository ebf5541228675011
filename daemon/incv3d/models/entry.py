"""Describe a model: its tensors, input and labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from incv3d.config.preprocessing import Interpolation, PerChannel, channel_ranges
from incv3d.errors import Incv3dError

Positive = Annotated[int, msgspec.Meta(gt=0)]


class ModelError(Incv3dError):
    """A model is missing, damaged, or not the expected one."""


@contextlib.contextmanager
def mark_lasting() -> Iterator[None]:
    """Mark errors raised in the block as lasting: only the user can correct them."""
    try:
        yield
    except ModelError as error:
        error.is_lasting = True
        raise


class InGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The inputs of a graph that decodes and resizes by itself, as Google's of 2015 does."""

    jpeg: str
    """The tensor for a JPEG's bytes, ``DecodeJpeg/contents:0``."""
    image: str = msgspec.field(name="picture")
    """The tensor for ``(height, width, 3) uint8`` RGB of any size, ``DecodeJpeg:0``."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image with a known answer, which shows whether a model is the expected one."""

    image: str = msgspec.field(name="picture")
    """Name of the file in the model's folder."""
    label: str
    """The label, or its synset, that must be the best one."""
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """The expected score; None: any."""
    tolerance: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    """Allowed difference of the score."""


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The facts about one model. The network's input is ``(pixel - mean) / scale``, with pixels 0 to 255."""

    format: Literal["graphdef", "tflite", "onnx"] = "graphdef"
    """The file format in the store: a frozen GraphDef, a LiteRT flatbuffer or an ONNX network."""
    input: str
    """The input tensor, ``(1, height, width, channels) float32``, such as ``Mul:0``."""
    output: str
    """The output tensor with one score per class, such as ``softmax:0``."""
    height: Positive
    width: Positive
    channels: Literal[1, 3] = 3
    """1: the input is the luma of the image."""
    mean: PerChannel
    scale: PerChannel
    pixels_from: str = ""
    """The reason for `mean` and `scale`, for people; empty for a known network."""
    caution: str = ""
    """A possible fault of the user's network, for people; logged at every start."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    """``nchw``: the input is ``(1, channels, height, width)``."""
    fit: Literal["stretch", "crop"]
    """``stretch``: the whole image, whatever its shape; ``crop``: its central square."""
    crop_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """``crop``: the side of the square as a fraction of the image's shorter side."""
    resize_to: Annotated[int, msgspec.Meta(ge=0)] = 0
    """``crop``: resize the image's shorter side to this length and then cut out the center, as torchvision's
    ``Resize`` and ``CenterCrop`` do; 0: cut out the square first."""
    interpolation: Interpolation
    outputs: Positive
    """Number of labels: one per score, or two for a `binary` network."""
    scores: Literal["probabilities", "logits"] = "probabilities"
    """The kind of scores; logits become probabilities by softmax."""
    binary: bool = False
    """Whether the network returns a single score, that of the second of its two labels."""
    in_graph: InGraph | None = None
    """None: the graph accepts pixels only."""
    golden: Golden | None = None
    url: str = ""
    """Download address of the archive; empty: the model is not fetched."""
    labels_url: str = ""
    """Download address of the labels; empty: they come with the archive or with incv3d."""
    labels_sha256: str = ""
    """SHA-256 of that file; empty: unknown."""
    archive_bytes: Positive | None = None
    """Size of the file that is imported; None: unknown, or incv3d builds the model."""
    archive_sha256: str = ""
    """SHA-256 of that file; empty if none was published: then the first fetch records it."""
    graph_bytes: Positive | None = None
    """Size of the frozen graph in it."""
    licence: str = ""
    source: str = ""
    """Origin of the model, for people."""

    def __post_init__(self) -> None:
        for per_channel in (self.mean, self.scale):
            if isinstance(per_channel, tuple) and len(per_channel) != self.channels:
                raise ValueError(f"{len(per_channel)} numbers for {self.channels} channels")

    @property
    def picture_in_words(self) -> str:
        """A description of how an image gets the network's size."""
        fit = "stretched"
        if self.resize_to:
            fit = f"resized to {self.resize_to} on the shorter side, then center-cropped"
        elif self.fit == "crop":
            fit = f"center crop, {self.crop_fraction:g} of the shorter side"
        return f"{fit}, {self.interpolation}"

    @property
    def network_in_words(self) -> str:
        """What the network's file is."""
        return {"graphdef": "a frozen graph", "tflite": "a .tflite model", "onnx": "an .onnx network"}[
            self.format
        ]

    @property
    def scores_given(self) -> int:
        """Number of scores that one run returns."""
        return 1 if self.binary else self.outputs

    @property
    def pixel_ranges(self) -> list[tuple[float, float]]:
        """The values that 0 and 255 become: one pair for all channels, or one per channel."""
        return channel_ranges(self.mean, self.scale)

    @property
    def pixels_in_words(self) -> str:
        """A description of the pixel range: ``0 to 255 become -1 to 1 (assumed: the file does not say)``."""
        ranges = " | ".join(f"{low:.5g} to {high:.5g}" for low, high in self.pixel_ranges)
        why = f" ({self.pixels_from})" if self.pixels_from else ""
        return f"0 to 255 become {ranges}{why}"
