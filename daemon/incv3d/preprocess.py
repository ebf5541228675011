"""Encoded or raw pixels to the model's input: ``(1, height, width, 3) float32``.

JPEG goes through libjpeg-turbo with the same settings as TensorFlow's ``DecodeJpeg`` (fast integer DCT,
plain upsampling: ``fastdct`` and not ``fastupsample``), so that the decoded pixels are equal to the bit;
the other formats go through Pillow.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from incv3d.errors import Incv3dError
from incv3d.frames import Frame, PictureFormat, Refusal, picture_format

Picture = npt.NDArray[np.uint8]
"""``(height, width, 3) uint8``, RGB; may be a view."""

EXIF_ORIENTATION = 0x0112
SCALED_DECODING_FROM = 2
"""A JPEG is decoded at half its size or less as long as it stays this many times the model's input."""


class PictureError(Incv3dError):
    """The bytes of a frame cannot become the model's input."""

    refusal = Refusal.BAD_IMAGE


class PictureTooLarge(PictureError):
    """The picture has more pixels than the configuration admits."""

    refusal = Refusal.TOO_LARGE


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model wants to see; the fields mean what they mean in a model's entry."""

    height: int
    width: int
    mean: float
    scale: float
    fit: Literal["stretch", "crop"]
    crop_fraction: float
    interpolation: Literal["bilinear", "bicubic"]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nhwc", "nchw"] = "nhwc"


class Preprocessor:
    """Decodes a frame and brings it to the model's input size and range.

    :param spec: the model's input.
    :param max_pixels: a picture of more pixels is refused before it is decoded.
    """

    def __init__(self, spec: InputSpec, max_pixels: int) -> None:
        self._spec = spec
        self._max_pixels = max_pixels

    def __call__(self, frame: Frame) -> npt.NDArray[np.float32]:
        """The model's input for `frame`: ``(1, height, width, 3) float32``.

        :raises PictureError: not a picture, damaged, or of another format than the frame says.
        :raises PictureTooLarge: more than ``max_pixels``.
        """
        return fit(self.decode(frame), self._spec)

    def decode(self, frame: Frame) -> Picture:
        """The pixels of `frame`, upright: ``(height, width, 3) uint8`` RGB.

        A JPEG much larger than the model's input may come back smaller than it is.
        """
        if frame.encoding in ("rgb24", "bgr24", "gray8"):
            return self._raw(frame)
        found = picture_format(frame.data)
        if found is None:
            raise PictureError("not a JPEG, PNG, WebP or BMP picture")
        if frame.encoding and frame.encoding != found:
            raise PictureError(f"said to be {frame.encoding}, but it is a {found} picture")
        return self._jpeg(frame.data) if found == "jpeg" else self._pillow(frame.data, found)

    def _raw(self, frame: Frame) -> Picture:
        channels = 1 if frame.encoding == "gray8" else 3
        expected = frame.width * frame.height * channels
        if frame.width < 1 or frame.height < 1:
            raise PictureError(f"a raw frame of {frame.width}x{frame.height} pixels")
        self._check_size(frame.width, frame.height)
        if len(frame.data) != expected:
            raise PictureError(
                f"{frame.width}x{frame.height} {frame.encoding} is {expected} bytes, {len(frame.data)} came"
            )
        pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, channels)
        if channels == 1:
            return np.broadcast_to(pixels, (frame.height, frame.width, 3))
        return pixels[:, :, ::-1] if frame.encoding == "bgr24" else pixels

    def _jpeg(self, data: bytes | memoryview) -> Picture:
        try:
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        except ValueError as error:
            raise PictureError(f"damaged JPEG: {error}") from None
        except KeyError:  # how simplejpeg says that it found no subsampling
            raise PictureError("damaged JPEG: its header is incomplete") from None
        self._check_size(width, height)
        if colorspace in ("CMYK", "YCCK"):
            return self._pillow(data, "jpeg")
        least = {
            "min_height": SCALED_DECODING_FROM * self._spec.height,
            "min_width": SCALED_DECODING_FROM * self._spec.width,
            "min_factor": 2,
        }
        try:
            pixels: Picture = simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=False, **least)
        except ValueError as error:
            if "extraneous bytes" in str(error):
                # Cheap cameras pad between segments; the picture is whole, and Pillow reads it.
                return self._pillow(data, "jpeg")
            raise PictureError(f"damaged JPEG: {error}") from None
        except MemoryError:
            raise PictureTooLarge(f"{width}x{height} pixels: not enough memory to decode it") from None
        return upright(pixels, _jpeg_orientation(data))

    def _pillow(self, data: bytes | memoryview, format_: PictureFormat) -> Picture:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(data), formats=[format_.upper()])
            self._check_size(*image.size)
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
            return upright(np.asarray(_to_rgb(image)), orientation)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise PictureTooLarge(f"more than {self._max_pixels} pixels") from None
        except UnidentifiedImageError:
            raise PictureError(f"damaged {format_}: its header cannot be read") from None
        except (OSError, ValueError, SyntaxError, EOFError, OverflowError, TypeError, KeyError) as error:
            # Pillow's decoders raise all of these on damaged files.
            raise PictureError(f"damaged {format_}: {error}") from None

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise PictureTooLarge(f"{width}x{height} pixels, at most {self._max_pixels} are admitted")


def fit(picture: Picture, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Crop or stretch `picture` to the model's input, ``(pixel - mean) / scale`` as float32.

    :returns: ``(1, height, width, 3)``, or ``(1, 3, height, width)`` for a network of that layout; may be a
        view.
    """
    if spec.fit == "crop":
        picture = crop(picture, spec.crop_fraction)
    resize = resize_bilinear if spec.interpolation == "bilinear" else resize_bicubic
    resized = resize(picture, spec.height, spec.width)
    resized -= spec.mean
    resized *= 1 / spec.scale
    if spec.channel_order == "bgr":
        resized = resized[:, :, ::-1]
    if spec.layout == "nchw":
        resized = resized.transpose(2, 0, 1)
    return resized[np.newaxis]


def crop(picture: Picture, fraction: float) -> Picture:
    """The central square of `picture` whose side is `fraction` of the shorter side; a view."""
    height, width = picture.shape[:2]
    side = max(1, round(min(height, width) * fraction))
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def resize_bilinear(picture: Picture, height: int, width: int) -> npt.NDArray[np.float32]:
    """As TensorFlow's ``ResizeBilinear(align_corners=False, half_pixel_centers=False)``, to the digit.

    Output pixel ``i`` is sampled at ``i * source / target`` between its two neighbours, without
    anti-aliasing: what the graph of 2015 does, so that its scores come out.

    :returns: ``(height, width, 3) float32`` in [0, 255].
    """
    top, bottom, down = _sampling(picture.shape[0], height)
    left, right, across = _sampling(picture.shape[1], width)
    # A pixel is gathered as one 3-byte item: four times faster than as three separate bytes.
    pixels = np.ascontiguousarray(picture).reshape(-1, 3).view("V3").ravel()
    top, bottom = (rows[:, np.newaxis] * picture.shape[1] for rows in (top, bottom))

    def gather(at: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        return pixels.take(at).view(np.uint8).reshape(height, width * 3).astype(np.float32)

    across = np.repeat(across, 3)
    upper = _lerp(gather(top + left), gather(top + right), across)
    lower = _lerp(gather(bottom + left), gather(bottom + right), across)
    return _lerp(upper, lower, down[:, np.newaxis]).reshape(height, width, 3)


def resize_bicubic(picture: Picture, height: int, width: int) -> npt.NDArray[np.float32]:
    """Bicubic with anti-aliasing, as Pillow (and so torchvision) does it.

    :returns: ``(height, width, 3) float32`` in [0, 255].
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)


def upright(picture: Picture, orientation: int) -> Picture:
    """Turn and mirror `picture` as its EXIF `orientation` (1 to 8) asks; a view."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return picture


def _sampling(
    source: int, target: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    at = np.arange(target, dtype=np.float32) * np.float32(source / target)
    low = at.astype(np.intp)
    return low, np.minimum(low + 1, source - 1), at - low.astype(np.float32)


def _lerp(
    low: npt.NDArray[np.float32], high: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    high -= low
    high *= weight
    low += high
    return low


def _jpeg_orientation(data: bytes | memoryview) -> int:
    # Pillow reads the header alone here, and only of pictures that have EXIF.
    if b"Exif\x00\x00" not in bytes(data[:4096]):
        return 1
    try:
        orientation = Image.open(io.BytesIO(data), formats=["JPEG"]).getexif().get(EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError):
        return 1  # damaged EXIF beside an intact picture
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scaling
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
