"""Convert encoded or raw frames to the input of the Session.

Usually that is the model's input, ``(1, height, width, 3) float32``. A graph that decodes and resizes is fed
the JPEG or its pixels. JPEGs are decoded by libjpeg-turbo with the settings of TensorFlow's ``DecodeJpeg``
(fast integer DCT, plain upsampling: ``fastdct`` and not ``fastupsample``), so that the pixels are identical;
other formats are decoded by Pillow.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from incv3d.engines.base import Feed, ImageArray
from incv3d.errors import Incv3dError
from incv3d.frames import CHANNELS, Frame, ImageFormat, Refusal, image_format, is_yuv
from incv3d.images import jpeg, jpeg_decoder, yuv
from incv3d.images.decode_cost import GRAPH_PIXEL_COST, PIXEL_COST
from incv3d.images.jpeg import ORIENTATION, JpegError
from incv3d.images.jpeg_decoder import DecodingOptions
from incv3d.images.resize import ORIENTATIONS, SIDEWAYS, InputSpec, crop_region, fit, turn_upright

Mode = Literal["fast", "exact", "graph"]
"""``fast``: a large JPEG is decoded at a reduced size; ``exact``: everything at full size; ``graph``: the
graph decodes and resizes."""

SCALED_DECODING_FROM = 2
"""``fast``: a JPEG is decoded at half its size or less as long as it, or its region, remains this many times
larger than the model's input."""
ANTIALIASED_DECODING_FROM = 3
"""The same for an interpolation with antialiasing. From this factor on, according to Pillow's manual
(``reducing_gap``), two steps can hardly be distinguished from one."""
LARGEST_SIDE = 65_535
"""The maximum for a JPEG."""

OTHER_FORMATS = (
    (4, b"ftyphei", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftyphevc", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftypmif1", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftypmsf1", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftypavif", "AVIF: convert it"),
    (4, b"ftypavis", "AVIF: convert it"),
    (4, b"ftypcrx ", "a raw format: convert it"),
    (4, b"ftyp", "an MP4 video"),
    (0, b"GIF8", "GIF: convert it"),
    (0, b"II*\0", "TIFF or a raw format: convert it"),
    (0, b"MM\0*", "TIFF or a raw format: convert it"),
    (0, b"\xff\x0a", "JPEG XL: convert it"),
    (4, b"JXL ", "JPEG XL: convert it"),
    (4, b"jP  ", "JPEG 2000: convert it"),
    (0, b"/9j/", "a JPEG in Base64: send its bytes"),
    (0, b"iVBORw0KGgo", "a PNG in Base64: send its bytes"),
    (0, b"data:image/", "a data URL: send the picture's bytes"),
    (0, b"\x1f\x8b", "gzip data: send the picture's bytes"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "a web page or other text"),
)
"""Common mistakes: offset and magic bytes, and a description with advice."""


class ImageError(Incv3dError):
    """A frame cannot be converted to the model's input."""

    refusal = Refusal.BAD_IMAGE


class ImageTooLarge(ImageError):
    """The image has more pixels than the configuration allows."""

    refusal = Refusal.TOO_LARGE


class Preprocessor:
    """Decodes frames and converts them to the input of the model or of its graph.

    :param spec: the model's input.
    :param max_pixels: a larger image is rejected before it is decoded. This bounds memory: a progressive JPEG
        takes 3 bytes per pixel during decoding, however small the result. Formats that take more are limited
        to fewer pixels, by the factor in :data:`incv3d.images.decode_cost.PIXEL_COST`.
    """

    def __init__(self, spec: InputSpec, max_pixels: int, mode: Mode = "fast") -> None:
        self._spec = spec
        self._max_pixels = max_pixels
        self._mode = mode

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """The values that 0 and 255 become; None: they differ by channel, or the graph converts pixels."""
        mean, scale = self._spec.mean, self._spec.scale
        if self._mode == "graph" or not isinstance(mean, float | int) or not isinstance(scale, float | int):
            return None
        return (0 - mean) / scale, (255 - mean) / scale

    def in_range(self, low: float, high: float) -> Preprocessor:
        """Return a preprocessor that maps 0 to `low` and 255 to `high`, with all else unchanged."""
        spec = replace(self._spec, mean=-low * 255 / (high - low), scale=255 / (high - low))
        return Preprocessor(spec, self._max_pixels, self._mode)

    def fitted(self, fit: Literal["stretch", "crop"], crop_fraction: float) -> Preprocessor:
        """Return a preprocessor that gives images the network's size by `fit`, with all else unchanged.

        A graph that resizes by itself can only stretch: for another fit, images are decoded here, as exactly.
        """
        spec = self._spec
        if fit == spec.fit and (fit == "stretch" or crop_fraction == spec.crop_fraction):
            return self
        mode: Mode = "exact" if self._mode == "graph" else self._mode
        new = replace(spec, fit=fit, crop_fraction=crop_fraction, resize_to=0)
        return Preprocessor(new, self._max_pixels, mode)

    def __call__(self, frame: Frame) -> Feed:
        """Return the model's input for `frame`: ``(1, height, width, 3) float32``.

        With the mode ``graph``, return the bytes of a JPEG if TensorFlow decodes them correctly, else
        ``(height, width, 3) uint8``. Frames are decoded here if they are rotated, cropped, CMYK or not JPEGs.

        :raises ImageError: the frame is not an image, or damaged.
        :raises ImageTooLarge: the image has more than ``max_pixels``.
        """
        if self._mode == "graph" and self._is_for_graph(frame):
            return bytes(frame.data)
        return self.feed(self.decode(frame))

    def decode(self, frame: Frame) -> ImageArray:
        """Return the upright pixels of `frame` or of its region: ``(height, width, 3) uint8`` RGB; may be a
        view.

        With the mode ``fast``, a JPEG much larger than the model's input may be decoded at a reduced size.

        :raises ImageError: as for a call.
        """
        found = encoded_format(frame)
        if found is None:
            image = self._raw(frame)
        elif found == "jpeg":
            image = self._jpeg(frame)
        else:
            image = turn_upright(*self._pillow(frame.data, found))
        return crop_region(turn_upright(image, ORIENTATIONS[frame.transform]), frame.region)

    def feed(self, image: ImageArray) -> Feed:
        """Return the Session's input for a decoded image."""
        if self._mode == "graph":
            return np.ascontiguousarray(image)
        return fit(image, self._spec, exact=self._mode == "exact")

    def _is_for_graph(self, frame: Frame) -> bool:
        """Return whether the graph itself can decode `frame`."""
        is_whole = frame.region is None and frame.transform == "none"
        return encoded_format(frame) == "jpeg" and is_whole and self._is_plain(frame.data)

    def _raw(self, frame: Frame) -> ImageArray:
        encoding = frame.encoding
        channels = CHANNELS.get(str(encoding), 3)
        expected = frame.width * frame.height * channels
        if is_yuv(encoding):
            expected = yuv.size_bytes(encoding, frame.width, frame.height)
        if frame.width < 1 or frame.height < 1:
            raise ImageError(f"a raw frame cannot have {frame.width}x{frame.height} pixels")
        self._check_size(frame.width, frame.height, "jpeg")
        if len(frame.data) != expected:
            raise ImageError(
                f"{frame.width}x{frame.height} {frame.encoding} is {expected} bytes, got {len(frame.data)}"
            )
        if is_yuv(encoding):
            return yuv.to_rgb(frame.data, encoding, frame.width, frame.height, frame.colours)
        pixels = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, channels)
        if channels == 1:
            return np.broadcast_to(pixels, (frame.height, frame.width, 3))
        if channels == 4:
            return _without_fourth(pixels, is_bgr=frame.encoding == "bgra")
        return pixels[:, :, ::-1] if frame.encoding == "bgr24" else pixels

    def _is_plain(self, data: bytes | memoryview) -> bool:
        """Return whether TensorFlow's decoder can decode a JPEG completely.

        Decodes it on trial, because TensorFlow's decoder turns damage into gray areas where it can, and
        writes warnings to standard error, which is the daemon's log.
        """
        header = self._jpeg_header(data)
        is_rgb = header.frame in jpeg.HUFFMAN and len(header.components) in (1, 3)
        return is_rgb and header.orientation == 1 and jpeg_decoder.is_sound(data)

    def _jpeg_header(self, data: bytes | memoryview) -> jpeg.Header:
        try:
            header = jpeg.read_header(data)
        except JpegError as error:
            raise ImageError(f"damaged JPEG: {error}") from None
        self._check_size(header.width, header.height, "jpeg")
        return header

    def _jpeg(self, frame: Frame) -> ImageArray:
        data = frame.data
        header = self._jpeg_header(data)
        options: DecodingOptions = {"fastdct": self._spec.fast_dct, "fastupsample": False}
        if self._mode == "fast":
            options |= self._scaling(frame, header)
        try:
            pixels = jpeg_decoder.decode(data, header, self._jpeg_by_pillow, options)
        except JpegError as error:
            raise ImageError(str(error)) from None
        except MemoryError:
            raise ImageTooLarge("not enough memory to decode it") from None
        return turn_upright(pixels, header.orientation)

    def _jpeg_by_pillow(self, data: bytes | memoryview) -> ImageArray:
        try:
            return self._pillow(data, "jpeg")[0]
        except ImageTooLarge:
            raise
        except ImageError as error:
            raise JpegError(str(error)) from None

    def _scaling(self, frame: Frame, header: jpeg.Header) -> DecodingOptions:
        """Return the smallest decoding size that preserves the details that the model can see."""
        shares = (frame.region.width, frame.region.height) if frame.region else (1.0, 1.0)
        if (header.orientation in SIDEWAYS) != (ORIENTATIONS[frame.transform] in SIDEWAYS):
            shares = shares[::-1]
        antialias = self._spec.antialias
        least = self._spec.least_side * (ANTIALIASED_DECODING_FROM if antialias else SCALED_DECODING_FROM)
        width, height = (min(LARGEST_SIDE, math.ceil(least / share)) for share in shares)
        if antialias:
            width, height = _least_average(header, width, height)
        return {"min_width": width, "min_height": height, "min_factor": 2}

    def _pillow(self, data: bytes | memoryview, format_: ImageFormat) -> tuple[ImageArray, int]:
        """Return pixels as stored, and their EXIF orientation."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(data), formats=[format_.upper()])
            self._check_size(*image.size, format_)
            pixels = np.asarray(_to_rgb(image))
            return pixels, _orientation(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ImageTooLarge(f"more than {self._max_pixels} pixels") from None
        except UnidentifiedImageError:
            raise ImageError(f"damaged {format_}: its header cannot be read") from None
        except (OSError, ValueError, SyntaxError, EOFError, OverflowError, TypeError, KeyError) as error:
            # Pillow's decoders raise all of these on damaged files.
            raise ImageError(f"damaged {format_}: {error}") from None

    def _check_size(self, width: int, height: int, format_: ImageFormat) -> None:
        # TensorFlow decodes a JPEG at full size and converts every pixel to floats.
        times = GRAPH_PIXEL_COST if self._mode == "graph" else PIXEL_COST[format_]
        if width * height * times > self._max_pixels:
            admitted = self._max_pixels // times
            raise ImageTooLarge(f"{width}x{height} pixels; the limit for this format is {admitted}")


def _least_average(header: jpeg.Header, width: int, height: int) -> tuple[int, int]:
    """Return the smallest size, at least `width` x `height`, at which a JPEG's pixels are averages of blocks.

    Of libjpeg-turbo's sizes these are a half, a quarter and an eighth, if they leave no remainder. At other
    sizes it drops frequencies (jidctred.c, jidctint.c), which moves edges and causes ringing.
    """
    for part in (8, 4, 2):
        has_remainder = header.width % part or header.height % part
        if not has_remainder and header.width // part >= width and header.height // part >= height:
            return header.width // part, header.height // part
    return header.width, header.height


def _without_fourth(pixels: ImageArray, is_bgr: bool) -> ImageArray:
    """Return three of four channels, ``(height, width, 3)`` RGB, copied one by one: NumPy's fastest way."""
    colours = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel in range(3):
        colours[:, :, 2 - channel if is_bgr else channel] = pixels[:, :, channel]
    return colours


def encoded_format(frame: Frame) -> ImageFormat | None:
    """Return the format of an encoded frame, found by its first bytes; None: the frame is raw pixels.

    :raises ImageError: the format is unknown.
    """
    if frame.encoding in CHANNELS or is_yuv(frame.encoding):
        return None
    found = image_format(frame.data)
    if found is None:
        raise ImageError(f"not a JPEG, PNG, WebP or BMP image{_what_else(frame.data)}")
    return found


def _what_else(data: bytes | memoryview) -> str:
    head = bytes(data[:16])
    return next((f", but {name}" for at, magic, name in OTHER_FORMATS if head.startswith(magic, at)), "")


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            orientation = image.getexif().get(ORIENTATION)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error):
        return 1  # damaged EXIF in an intact image
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip instead of scaling
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")  # an unused fourth byte, although Windows says it is transparency
    if image.has_transparency_data:
        # Pasting releases the GIL and takes half the memory of Image.alpha_composite.
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")
