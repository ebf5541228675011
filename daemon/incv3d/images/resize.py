"""Decoded pixels to the model's input: cropped or stretched, resized, in its range and layout."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from incv3d.config.preprocessing import Interpolation, PerChannel
from incv3d.engines.base import ImageArray
from incv3d.frames import Region, Transform

Float = npt.NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in luma (ITU-R BT.601)."""
REDUCING_GAP = 2.0
"""A picture twice this many times too large is averaged over blocks first, unless it is to be exact."""
BLOCK_ROWS = 32
"""So many rows are resized at a time that what is between stays in the processor's cache, and in memory that
the C library does not give back: fresh pages for it took longer than the arithmetic."""
LONGEST_RESIZED = 16
"""How many times as long as wide a picture may be to be resized whole before its centre is cut out."""
PILLOW_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "tf-bilinear-antialias": Image.Resampling.BILINEAR,
    "pillow-nearest": Image.Resampling.NEAREST,
    "pillow-box": Image.Resampling.BOX,
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
}
"""What Pillow computes. TensorFlow's antialiasing is the same triangle, without rounding in between: the two
differ by less than 1 of 255."""


ORIENTATIONS: dict[Transform, int] = {
    "none": 1,
    "hflip": 2,
    "rotate180": 3,
    "vflip": 4,
    "rotate90": 6,
    "rotate270": 8,
}
"""The EXIF orientation of a picture that is upright after this was done to it."""
SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations of pictures whose rows become columns."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model wants to see; the fields mean what they mean in a model's entry."""

    height: int
    width: int
    mean: PerChannel
    scale: PerChannel
    fit: Literal["stretch", "crop"]
    crop_fraction: float
    interpolation: Interpolation
    channel_order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    channels: Literal[1, 3] = 3
    resize_to: int = 0

    @property
    def least_side(self) -> int:
        """A picture of fewer pixels a side would have to be made larger."""
        if self.resize_to:
            return self.resize_to
        side = max(self.height, self.width)
        return math.ceil(side / self.crop_fraction) if self.fit == "crop" else side

    @property
    def antialias(self) -> bool:
        """Whether all pixels count that a picture has, and not only those that are sampled.

        False for ``bicubic``: EfficientNet-Lite0's scores are known with what ``fast`` has always given it.
        """
        return self.interpolation in PILLOW_FILTERS.keys() - {"bicubic", "pillow-nearest"}

    @property
    def fast_dct(self) -> bool:
        """Whether JPEGs are decoded with the fast DCT, as by TensorFlow; Pillow uses the accurate one."""
        return not self.interpolation.startswith("pillow-")


def fit(picture: ImageArray, spec: InputSpec, exact: bool = True) -> Float:
    """Crop or stretch `picture` to the model's input, ``(pixel - mean) / scale`` as float32.

    :param exact: False: a picture that is far too large may be made smaller in two steps.
    :returns: ``(1, height, width, channels)``, or ``(1, channels, height, width)`` for a network of that
        layout; may be a view.
    """
    if spec.fit == "crop" and not spec.resize_to:
        picture = crop(picture, spec.crop_fraction)
    if spec.channels == 1 and spec.interpolation in PILLOW_FILTERS:
        # As in Pillow, where the conversion comes first and rounds: `Image.convert("L").resize(...)`.
        grey = Image.fromarray(np.ascontiguousarray(picture)).convert("L")
        picture = np.asarray(grey)[:, :, np.newaxis]
    resized = (resize_and_crop if spec.resize_to else resize)(picture, spec, exact)
    if spec.channels == 1:
        resized = luma(resized)
    elif spec.channel_order == "bgr":
        resized = resized[:, :, ::-1]
    normalise(resized, spec.mean, spec.scale)
    if spec.layout == "nchw":
        resized = resized.transpose(2, 0, 1)
    return resized[np.newaxis]


def resize_and_crop(picture: ImageArray, spec: InputSpec, exact: bool) -> Float:
    """Return the centre of `picture` after its shorter side has been resized to ``spec.resize_to``.

    Rounds as ``Resize`` and ``CenterCrop`` of torchvision do. Of a picture longer than
    :data:`LONGEST_RESIZED` times its width, both ends are cut off first: resized whole, it could need
    gigabytes.

    :returns: ``(height, width, 3) float32`` in [0, 255]; may be a view.
    """
    short = min(picture.shape[:2])
    y, x = (max(0, side - LONGEST_RESIZED * short) // 2 for side in picture.shape[:2])
    picture = picture[y : y + LONGEST_RESIZED * short, x : x + LONGEST_RESIZED * short]
    height, width = (spec.resize_to * side // short for side in picture.shape[:2])
    resized = resize(picture, replace(spec, height=height, width=width), exact)
    # To the nearest, halves to the even number.
    top, left = round((height - spec.height) / 2), round((width - spec.width) / 2)
    return resized[top : top + spec.height, left : left + spec.width]


def resize(picture: ImageArray, spec: InputSpec, exact: bool) -> Float:
    """`picture` in the model's size, its channels resized as they lie in memory and put in order afterwards.

    To reorder, or to repeat, the channels of a large frame first would take several times as long.

    :returns: ``(height, width, 3) float32`` in [0, 255], of a grey picture for a network of one channel
        ``(height, width, 1)``; may be a view.
    """
    step = picture.strides[2]
    if step < 0:
        return resize(picture[:, :, ::-1], spec, exact)[:, :, ::-1]
    if step == 0 and picture.shape[2] > 1:
        grey = resize(picture[:, :, :1], spec, exact)
        return grey if spec.channels == 1 else np.repeat(grey, 3, axis=2)
    if spec.interpolation in PILLOW_FILTERS:
        # The other filters promise Pillow's own pixels, which a reduction in two steps would change.
        gap = REDUCING_GAP if spec.interpolation == "bicubic" and not exact else None
        resample = PILLOW_FILTERS[spec.interpolation]
        return resize_with_pillow(picture, spec.height, spec.width, resample, gap)
    half_pixel = spec.interpolation == "tf-bilinear"
    return resize_bilinear(picture, spec.height, spec.width, half_pixel)


def luma(resized: Float) -> Float:
    """Return the luma of RGB pixels, as Pillow's mode ``L`` and ``tf.image.rgb_to_grayscale`` define it.

    :param resized: ``(height, width, 3) float32``; or one channel, which is luma already.
    :returns: ``(height, width, 1) float32``.
    """
    if resized.shape[2] == 1:
        return resized
    return (resized @ LUMA)[:, :, np.newaxis]


def normalise(pixels: Float, mean: PerChannel, scale: PerChannel) -> None:
    """Make `pixels` ``(pixel - mean) / scale``, in place."""
    step = pixels.strides[2]
    if not isinstance(mean, tuple) and not isinstance(scale, tuple):
        pixels -= mean
        pixels *= 1 / scale
        return
    if step < 0:  # in the order in which they lie in memory
        pixels = pixels[:, :, ::-1]
    for each, divide in ((mean, False), (scale, True)):
        row = np.broadcast_to(np.asarray(each, np.float32), pixels.shape[2])[:: -1 if step < 0 else 1]
        # A whole row at a time: NumPy works through channels of three elements one call each.
        row = np.tile(row, pixels.shape[1]).reshape(pixels.shape[1:])
        if divide:
            pixels *= 1 / row
        else:
            pixels -= row


def crop(picture: ImageArray, fraction: float) -> ImageArray:
    """The central square of `picture` whose side is `fraction` of the shorter side; a view."""
    height, width = picture.shape[:2]
    side = max(1, round(min(height, width) * fraction))
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def resize_bilinear(picture: ImageArray, height: int, width: int, half_pixel: bool = False) -> Float:
    """As TensorFlow's ``ResizeBilinear(align_corners=False, half_pixel_centers=half_pixel)``, to the digit.

    Output pixel ``i`` is sampled at ``i * source / target`` between its two neighbours, without
    anti-aliasing: what the graph of 2015 does, so that its scores come out. With `half_pixel` it is sampled
    at ``(i + 0.5) * source / target - 0.5``, as ``tf.image.resize`` does. Only the rows that are sampled are
    read.

    :param picture: ``(height, width, channels)``, the channels of a pixel beside each other in memory.
    :returns: ``(height, width, channels) float32`` in [0, 255].
    """
    top, bottom, down = _sampling(picture.shape[0], height, half_pixel)
    left, right, across = _sampling(picture.shape[1], width, half_pixel)
    channels = picture.shape[2]
    # Gathered as bytes: of items of three NumPy copies each by a call.
    left, right = (_spread(columns, channels) for columns in (left, right))
    across = np.repeat(across, channels)
    rows, upper, lower = _each_once(top, bottom, picture.shape[0])
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, height, BLOCK_ROWS)]
    most = max(BLOCK_ROWS, *(lower[block][-1] + 1 - upper[block][0] for block in blocks))
    low, high = (np.empty((most, width * channels), np.float32) for _ in range(2))
    resized = np.empty((height, width * channels), np.float32)
    for block in blocks:
        first, end = upper[block][0], lower[block][-1] + 1
        taken = picture[rows[first:end]].reshape(end - first, -1)
        at_left, at_right = low[: end - first], high[: end - first]
        np.copyto(at_left, taken.take(left, axis=1, mode="clip"))
        np.copyto(at_right, taken.take(right, axis=1, mode="clip"))
        sampled = _lerp(at_left, at_right, across)
        above, below = resized[block], high[: len(upper[block])]
        sampled.take(upper[block] - first, axis=0, out=above, mode="clip")
        sampled.take(lower[block] - first, axis=0, out=below, mode="clip")
        _lerp(above, below, down[block, np.newaxis])
    return resized.reshape(height, width, channels)


def resize_with_pillow(
    picture: ImageArray,
    height: int,
    width: int,
    resample: Image.Resampling,
    reducing_gap: float | None = None,
) -> Float:
    """As Pillow's ``Image.resize`` does it (and so torchvision and timm): all but nearest with anti-aliasing.

    :param picture: ``(height, width, 3)``, or 1 channel.
    :param reducing_gap: Pillow's: how many times too large the picture may be for one step.
    :returns: ``(height, width, channels) float32`` in [0, 255].
    """
    channels = picture.shape[2]
    image = Image.fromarray(np.ascontiguousarray(picture if channels == 3 else picture[:, :, 0]))
    resized = image.resize((width, height), resample, reducing_gap=reducing_gap)
    return np.asarray(resized, dtype=np.float32).reshape(height, width, channels)


def upright(picture: ImageArray, orientation: int) -> ImageArray:
    """Turn and mirror `picture` as its EXIF `orientation` (1 to 8) asks; a view."""
    if orientation in SIDEWAYS:
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return picture


def orientation_of_both(first: int, second: int) -> int:
    """The EXIF orientation that turns a picture as `first` does, and then as `second` does."""
    corners = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    wanted = upright(upright(corners, first), second)
    return next(each for each in range(1, 9) if np.array_equal(upright(corners, each), wanted))


def cut(picture: ImageArray, region: Region | None) -> ImageArray:
    """The pixels of `region`, or all of them; a view."""
    if region is None:
        return picture
    left, top, right, bottom = region.box(picture.shape[1], picture.shape[0])
    return picture[top:bottom, left:right]


def _sampling(
    source: int, target: int, half_pixel: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """The two neighbours of each sampled point, and the weight of the second."""
    half = np.float32(0.5 if half_pixel else 0)
    at = (np.arange(target, dtype=np.float32) + half) * np.float32(source / target) - half
    floor = np.floor(at)
    low = floor.astype(np.intp)
    return np.maximum(low, 0), np.minimum(low + 1, source - 1), at - floor


def _each_once(
    top: npt.NDArray[np.intp], bottom: npt.NDArray[np.intp], source: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The rows that are sampled, and where among them those of `top` and those of `bottom` are."""
    is_sampled = np.zeros(source, np.bool_)
    is_sampled[top] = is_sampled[bottom] = True
    places = np.cumsum(is_sampled) - 1
    return np.flatnonzero(is_sampled), places[top], places[bottom]


def _spread(pixels: npt.NDArray[np.intp], channels: int) -> npt.NDArray[np.intp]:
    """Where the bytes of `pixels` lie in their row."""
    return (pixels[:, np.newaxis] * channels + np.arange(channels)).ravel()


def _lerp(low: Float, high: Float, weight: Float) -> Float:
    high -= low
    high *= weight
    low += high
    return low
