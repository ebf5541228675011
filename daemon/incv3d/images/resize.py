"""Convert decoded pixels to the model's input: crop or stretch, resize, normalize, set the layout."""

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
"""An image more than twice this factor too large is averaged over blocks first, unless `exact`."""
BLOCK_ROWS = 32
"""Number of rows resized at a time: few enough that intermediate results stay in the processor's cache, and
in memory that the C library keeps; fresh pages took longer than the arithmetic."""
LONGEST_RESIZED = 16
"""Longer images, relative to their width, are cut before they are resized and center-cropped."""
PILLOW_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "tf-bilinear-antialias": Image.Resampling.BILINEAR,
    "pillow-nearest": Image.Resampling.NEAREST,
    "pillow-box": Image.Resampling.BOX,
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
}
"""Filters computed by Pillow. TensorFlow's antialiasing is the same triangle, without intermediate rounding;
the two differ by less than 1 of 255."""


ORIENTATIONS: dict[Transform, int] = {
    "none": 1,
    "hflip": 2,
    "rotate180": 3,
    "vflip": 4,
    "rotate90": 6,
    "rotate270": 8,
}
"""The EXIF orientation equivalent to each transform."""
SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that swap rows and columns."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The model's input; the fields are those of a model's entry."""

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
        """Smaller images would have to be enlarged."""
        if self.resize_to:
            return self.resize_to
        side = max(self.height, self.width)
        return math.ceil(side / self.crop_fraction) if self.fit == "crop" else side

    @property
    def antialias(self) -> bool:
        """Whether all pixels of the image count, not only the sampled ones.

        False for ``bicubic``: EfficientNet-Lite0's scores are known for the pixels that ``fast`` has always
        produced.
        """
        return self.interpolation in PILLOW_FILTERS.keys() - {"bicubic", "pillow-nearest"}

    @property
    def fast_dct(self) -> bool:
        """Whether JPEGs are decoded with the fast DCT, as in TensorFlow; Pillow uses the accurate one."""
        return not self.interpolation.startswith("pillow-")


def fit(image: ImageArray, spec: InputSpec, exact: bool = True) -> Float:
    """Crop or stretch `image` to the model's input, ``(pixel - mean) / scale`` as float32.

    :param exact: if False, a much larger image may be reduced in two steps.
    :returns: ``(1, height, width, channels)``, or ``(1, channels, height, width)`` for ``nchw``; may be a
        view.
    """
    if spec.fit == "crop" and not spec.resize_to:
        image = crop(image, spec.crop_fraction)
    if spec.channels == 1 and spec.interpolation in PILLOW_FILTERS:
        # As with Pillow's `Image.convert("L").resize(...)`, which converts first and rounds.
        grey = Image.fromarray(np.ascontiguousarray(image)).convert("L")
        image = np.asarray(grey)[:, :, np.newaxis]
    resized = (resize_and_crop if spec.resize_to else resize)(image, spec, exact)
    if spec.channels == 1:
        resized = luma(resized)
    elif spec.channel_order == "bgr":
        resized = resized[:, :, ::-1]
    normalise(resized, spec.mean, spec.scale)
    if spec.layout == "nchw":
        resized = resized.transpose(2, 0, 1)
    return resized[np.newaxis]


def resize_and_crop(image: ImageArray, spec: InputSpec, exact: bool) -> Float:
    """Return the center of `image` after resizing its shorter side to ``spec.resize_to``.

    Rounds like torchvision's ``Resize`` and ``CenterCrop``. If an image is more than :data:`LONGEST_RESIZED`
    times as long as wide, both ends are cut off first: resizing all of it could need gigabytes.

    :returns: ``(height, width, 3) float32`` in [0, 255]; may be a view.
    """
    short = min(image.shape[:2])
    y, x = (max(0, side - LONGEST_RESIZED * short) // 2 for side in image.shape[:2])
    image = image[y : y + LONGEST_RESIZED * short, x : x + LONGEST_RESIZED * short]
    height, width = (spec.resize_to * side // short for side in image.shape[:2])
    resized = resize(image, replace(spec, height=height, width=width), exact)
    # round() rounds halves to even, as torchvision does.
    top, left = round((height - spec.height) / 2), round((width - spec.width) / 2)
    return resized[top : top + spec.height, left : left + spec.width]


def resize(image: ImageArray, spec: InputSpec, exact: bool) -> Float:
    """Resize `image` to the model's size, with channels in memory order, which are reordered afterwards.

    Reordering or repeating the channels of a large frame first would take several times as long.

    :returns: ``(height, width, 3) float32`` in [0, 255]; ``(height, width, 1)`` for a gray image and a
        network with one channel; may be a view.
    """
    step = image.strides[2]
    if step < 0:
        return resize(image[:, :, ::-1], spec, exact)[:, :, ::-1]
    if step == 0 and image.shape[2] > 1:
        grey = resize(image[:, :, :1], spec, exact)
        return grey if spec.channels == 1 else np.repeat(grey, 3, axis=2)
    if spec.interpolation in PILLOW_FILTERS:
        # The other filters promise Pillow's exact pixels, which a reduction in two steps would change.
        gap = REDUCING_GAP if spec.interpolation == "bicubic" and not exact else None
        resample = PILLOW_FILTERS[spec.interpolation]
        return resize_with_pillow(image, spec.height, spec.width, resample, gap)
    half_pixel = spec.interpolation == "tf-bilinear"
    return resize_bilinear(image, spec.height, spec.width, half_pixel)


def luma(resized: Float) -> Float:
    """Return the luma of RGB pixels, as defined by Pillow's mode ``L`` and ``tf.image.rgb_to_grayscale``.

    :param resized: ``(height, width, 3) float32``, or one channel, which is luma already.
    :returns: ``(height, width, 1) float32``.
    """
    if resized.shape[2] == 1:
        return resized
    return (resized @ LUMA)[:, :, np.newaxis]


def normalise(pixels: Float, mean: PerChannel, scale: PerChannel) -> None:
    """Apply ``(pixel - mean) / scale`` to `pixels`, in place."""
    step = pixels.strides[2]
    if not isinstance(mean, tuple) and not isinstance(scale, tuple):
        pixels -= mean
        pixels *= 1 / scale
        return
    if step < 0:  # in memory order
        pixels = pixels[:, :, ::-1]
    for each, divide in ((mean, False), (scale, True)):
        row = np.broadcast_to(np.asarray(each, np.float32), pixels.shape[2])[:: -1 if step < 0 else 1]
        # Repeat the values for a whole row: per channel, NumPy would loop over three elements at a time.
        row = np.tile(row, pixels.shape[1]).reshape(pixels.shape[1:])
        if divide:
            pixels *= 1 / row
        else:
            pixels -= row


def crop(image: ImageArray, fraction: float) -> ImageArray:
    """Return the central square of `image` whose side is `fraction` of the shorter side; a view."""
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * fraction))
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize_bilinear(image: ImageArray, height: int, width: int, half_pixel: bool = False) -> Float:
    """Resize exactly as TensorFlow's ``ResizeBilinear(align_corners=False, half_pixel_centers=half_pixel)``.

    Output pixel ``i`` is sampled at ``i * source / target`` between its two neighbors, without antialiasing,
    as in the graph of 2015, to reproduce its scores. With `half_pixel` it is sampled at ``(i + 0.5) * source
    / target - 0.5``, as in ``tf.image.resize``. Only the sampled rows are read.

    :param image: ``(height, width, channels)``, with the channels of a pixel adjacent in memory.
    :returns: ``(height, width, channels) float32`` in [0, 255].
    """
    top, bottom, down = _sampling(image.shape[0], height, half_pixel)
    left, right, across = _sampling(image.shape[1], width, half_pixel)
    channels = image.shape[2]
    # Gather bytes: NumPy copies items of three bytes with one call each.
    left, right = (_spread(columns, channels) for columns in (left, right))
    across = np.repeat(across, channels)
    rows, upper, lower = _each_once(top, bottom, image.shape[0])
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, height, BLOCK_ROWS)]
    most = max(BLOCK_ROWS, *(lower[block][-1] + 1 - upper[block][0] for block in blocks))
    low, high = (np.empty((most, width * channels), np.float32) for _ in range(2))
    resized = np.empty((height, width * channels), np.float32)
    for block in blocks:
        first, end = upper[block][0], lower[block][-1] + 1
        taken = image[rows[first:end]].reshape(end - first, -1)
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
    image: ImageArray,
    height: int,
    width: int,
    resample: Image.Resampling,
    reducing_gap: float | None = None,
) -> Float:
    """Resize as Pillow's ``Image.resize`` does (and so torchvision and timm): antialiased, except nearest.

    :param image: ``(height, width, 3)``, or 1 channel.
    :param reducing_gap: Pillow's parameter: the factor above which it reduces in two steps.
    :returns: ``(height, width, channels) float32`` in [0, 255].
    """
    channels = image.shape[2]
    source = Image.fromarray(np.ascontiguousarray(image if channels == 3 else image[:, :, 0]))
    resized = source.resize((width, height), resample, reducing_gap=reducing_gap)
    return np.asarray(resized, dtype=np.float32).reshape(height, width, channels)


def turn_upright(image: ImageArray, orientation: int) -> ImageArray:
    """Rotate and mirror `image` according to its EXIF `orientation` (1 to 8); a view."""
    if orientation in SIDEWAYS:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def combine_orientations(first: int, second: int) -> int:
    """Return the EXIF orientation that combines `first` and then `second`."""
    corners = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    wanted = turn_upright(turn_upright(corners, first), second)
    return next(each for each in range(1, 9) if np.array_equal(turn_upright(corners, each), wanted))


def crop_region(image: ImageArray, region: Region | None) -> ImageArray:
    """Return the pixels of `region`, or all of them; a view."""
    if region is None:
        return image
    left, top, right, bottom = region.box(image.shape[1], image.shape[0])
    return image[top:bottom, left:right]


def _sampling(
    source: int, target: int, half_pixel: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return the two neighbors of each sampled point, and the weight of the second."""
    half = np.float32(0.5 if half_pixel else 0)
    at = (np.arange(target, dtype=np.float32) + half) * np.float32(source / target) - half
    floor = np.floor(at)
    low = floor.astype(np.intp)
    return np.maximum(low, 0), np.minimum(low + 1, source - 1), at - floor


def _each_once(
    top: npt.NDArray[np.intp], bottom: npt.NDArray[np.intp], source: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the sampled rows, and the positions of `top` and `bottom` among them."""
    is_sampled = np.zeros(source, np.bool_)
    is_sampled[top] = is_sampled[bottom] = True
    places = np.cumsum(is_sampled) - 1
    return np.flatnonzero(is_sampled), places[top], places[bottom]


def _spread(pixels: npt.NDArray[np.intp], channels: int) -> npt.NDArray[np.intp]:
    """Return the positions of the bytes of `pixels` in their row."""
    return (pixels[:, np.newaxis] * channels + np.arange(channels)).ravel()


def _lerp(low: Float, high: Float, weight: Float) -> Float:
    high -= low
    high *= weight
    low += high
    return low
