"""Encoded or raw pixels to what the Session is fed.

As a rule that is the model's input, ``(1, height, width, 3) float32``; a graph that decodes and resizes by
itself can be fed the JPEG, or the picture. JPEG goes through libjpeg-turbo with the same settings as
TensorFlow's ``DecodeJpeg`` (fast integer DCT, plain upsampling: ``fastdct`` and not ``fastupsample``), so
that the decoded pixels are equal to the bit; the other formats go through Pillow.
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
from incv3d.frames import CHANNELS, Frame, PictureFormat, Refusal, is_yuv, picture_format
from incv3d.images import jpeg, jpeg_decoder, yuv
from incv3d.images.decode_cost import DEARNESS, GRAPH_DEARNESS
from incv3d.images.jpeg import ORIENTATION, JpegError
from incv3d.images.jpeg_decoder import DecodingOptions
from incv3d.images.resize import ORIENTATIONS, SIDEWAYS, InputSpec, cut, fit, upright

Mode = Literal["fast", "exact", "graph"]
"""``fast``: a large JPEG is decoded at a fraction of its size; ``exact``: everything at full size;
``graph``: the graph decodes and resizes."""

SCALED_DECODING_FROM = 2
"""``fast``: a JPEG is decoded at half its size or less while it, or its region, stays this many times the
model's input."""
ANTIALIASED_DECODING_FROM = 3
"""The same for an interpolation with antialiasing. From this factor on, Pillow's manual (``reducing_gap``)
says, two steps can hardly be distinguished from one."""
LARGEST_SIDE = 65_535
"""Of a JPEG."""

OTHER_FORMATS = (
    (4, b"ftyphei", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftyphevc", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftypmif1", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftypmsf1", "HEIC: set the phone to its most compatible format, or convert it"),
    (4, b"ftypavif", "AVIF: convert it"),
    (4, b"ftypavis", "AVIF: convert it"),
    (4, b"ftypcrx ", "a raw format: convert it"),
    (4, b"ftyp", "an MP4 film"),
    (0, b"GIF8", "GIF: convert it"),
    (0, b"II*\0", "TIFF or a raw format: convert it"),
    (0, b"MM\0*", "TIFF or a raw format: convert it"),
    (0, b"\xff\x0a", "JPEG XL: convert it"),
    (4, b"JXL ", "JPEG XL: convert it"),
    (4, b"jP  ", "JPEG 2000: convert it"),
    (0, b"/9j/", "a JPEG in Base64: send its bytes"),
    (0, b"iVBORw0KGgo", "a PNG in Base64: send its bytes"),
    (0, b"data:image/", "a data URL: send the picture's bytes"),
    (0, b"\x1f\x8b", "something that gzip made: send the picture's bytes"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "a web page or other text"),
)
"""What people send instead: where its magic bytes are, and what it is."""


class ImageError(Incv3dError):
    """The bytes of a frame cannot become the model's input."""

    refusal = Refusal.BAD_IMAGE


class PictureTooLarge(ImageError):
    """The picture has more pixels than the configuration admits."""

    refusal = Refusal.TOO_LARGE


class Preprocessor:
    """Decodes a frame and brings it to the model's input size and range, or to what its graph itself takes.

    :param spec: the model's input.
    :param max_pixels: a picture of more pixels is refused before it is decoded. Memory is bounded by it: a
        progressive JPEG takes 3 bytes a pixel while it is decoded, however small it comes out. Where a
        pixel takes more, it counts as often as :data:`incv3d.images.decode_cost.DEARNESS` says.
    """

    def __init__(self, spec: InputSpec, max_pixels: int, mode: Mode = "fast") -> None:
        self._spec = spec
        self._max_pixels = max_pixels
        self._mode = mode

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """What 0 and 255 become; None: each channel has its own, or the graph does it by itself."""
        mean, scale = self._spec.mean, self._spec.scale
        if self._mode == "graph" or not isinstance(mean, float | int) or not isinstance(scale, float | int):
            return None
        return (0 - mean) / scale, (255 - mean) / scale

    def in_range(self, low: float, high: float) -> Preprocessor:
        """Return one that makes `low` of 0 and `high` of 255, and does everything else alike."""
        spec = replace(self._spec, mean=-low * 255 / (high - low), scale=255 / (high - low))
        return Preprocessor(spec, self._max_pixels, self._mode)

    def __call__(self, frame: Frame) -> Feed:
        """The model's input for `frame`: ``(1, height, width, 3) float32``.

        With the mode ``graph``, the bytes of a JPEG that TensorFlow decodes as it is meant, else ``(height,
        width, 3) uint8``: what has to be turned or cut, is in CMYK or is no JPEG is decoded here.

        :raises PictureError: not a picture, or damaged.
        :raises PictureTooLarge: more than ``max_pixels``.
        """
        if self._mode == "graph" and self._is_for_graph(frame):
            return bytes(frame.data)
        return self.feed(self.decode(frame))

    def decode(self, frame: Frame) -> ImageArray:
        """The pixels of `frame`, or of its region, upright: ``(height, width, 3) uint8`` RGB; may be a view.

        With the mode ``fast``, a JPEG much larger than the model's input may come back smaller than it is.

        :raises PictureError: as for a call.
        """
        found = encoded_format(frame)
        if found is None:
            picture = self._raw(frame)
        elif found == "jpeg":
            picture = self._jpeg(frame)
        else:
            picture = upright(*self._pillow(frame.data, found))
        return cut(upright(picture, ORIENTATIONS[frame.transform]), frame.region)

    def feed(self, picture: ImageArray) -> Feed:
        """What the Session is fed of a decoded picture."""
        if self._mode == "graph":
            return np.ascontiguousarray(picture)
        return fit(picture, self._spec, exact=self._mode == "exact")

    def _is_for_graph(self, frame: Frame) -> bool:
        """Whether the graph itself can decode `frame`."""
        is_whole = frame.region is None and frame.transform == "none"
        return encoded_format(frame) == "jpeg" and is_whole and self._is_plain(frame.data)

    def _raw(self, frame: Frame) -> ImageArray:
        encoding = frame.encoding
        channels = CHANNELS.get(str(encoding), 3)
        expected = frame.width * frame.height * channels
        if is_yuv(encoding):
            expected = yuv.size_bytes(encoding, frame.width, frame.height)
        if frame.width < 1 or frame.height < 1:
            raise ImageError(f"a raw frame of {frame.width}x{frame.height} pixels")
        self._check_size(frame.width, frame.height, "jpeg")
        if len(frame.data) != expected:
            raise ImageError(
                f"{frame.width}x{frame.height} {frame.encoding} is {expected} bytes, {len(frame.data)} came"
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
        """Whether a JPEG needs nothing that TensorFlow's decoder does not do.

        It is decoded on trial: of a damaged one TensorFlow's decoder makes grey areas where it can, and
        writes about it to standard error, which is the daemon's log.
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
            raise PictureTooLarge("not enough memory to decode it") from None
        return upright(pixels, header.orientation)

    def _jpeg_by_pillow(self, data: bytes | memoryview) -> ImageArray:
        try:
            return self._pillow(data, "jpeg")[0]
        except PictureTooLarge:
            raise
        except ImageError as error:
            raise JpegError(str(error)) from None

    def _scaling(self, frame: Frame, header: jpeg.Header) -> DecodingOptions:
        """The least size at which a JPEG is decoded, so that its region keeps what the model can see."""
        shares = (frame.region.width, frame.region.height) if frame.region else (1.0, 1.0)
        if (header.orientation in SIDEWAYS) != (ORIENTATIONS[frame.transform] in SIDEWAYS):
            shares = shares[::-1]
        antialias = self._spec.antialias
        least = self._spec.least_side * (ANTIALIASED_DECODING_FROM if antialias else SCALED_DECODING_FROM)
        width, height = (min(LARGEST_SIDE, math.ceil(least / share)) for share in shares)
        if antialias:
            width, height = _least_average(header, width, height)
        return {"min_width": width, "min_height": height, "min_factor": 2}

    def _pillow(self, data: bytes | memoryview, format_: PictureFormat) -> tuple[ImageArray, int]:
        """Pixels as they are stored, and their EXIF orientation."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(data), formats=[format_.upper()])
            self._check_size(*image.size, format_)
            pixels = np.asarray(_to_rgb(image))
            return pixels, _orientation(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise PictureTooLarge(f"more than {self._max_pixels} pixels") from None
        except UnidentifiedImageError:
            raise ImageError(f"damaged {format_}: its header cannot be read") from None
        except (OSError, ValueError, SyntaxError, EOFError, OverflowError, TypeError, KeyError) as error:
            # Pillow's decoders raise all of these on damaged files.
            raise ImageError(f"damaged {format_}: {error}") from None

    def _check_size(self, width: int, height: int, format_: PictureFormat) -> None:
        # TensorFlow decodes a JPEG whole, and makes floats of every pixel.
        times = GRAPH_DEARNESS if self._mode == "graph" else DEARNESS[format_]
        if width * height * times > self._max_pixels:
            admitted = self._max_pixels // times
            raise PictureTooLarge(f"{width}x{height} pixels, at most {admitted} are admitted of this format")


def _least_average(header: jpeg.Header, width: int, height: int) -> tuple[int, int]:
    """Return the least size, `width` x `height` or more, at which a JPEG's pixels are averages of blocks.

    Of libjpeg-turbo's sizes these are a half, a quarter and an eighth, where they leave no remainder: at the
    others it leaves out frequencies (jidctred.c, jidctint.c), which moves edges and makes rings.
    """
    for part in (8, 4, 2):
        has_remainder = header.width % part or header.height % part
        if not has_remainder and header.width // part >= width and header.height // part >= height:
            return header.width // part, header.height // part
    return header.width, header.height


def _without_fourth(pixels: ImageArray, is_bgr: bool) -> ImageArray:
    """The three colours of ``(height, width, 4)`` as RGB, a channel at a time: NumPy is quickest at that."""
    colours = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel in range(3):
        colours[:, :, 2 - channel if is_bgr else channel] = pixels[:, :, channel]
    return colours


def encoded_format(frame: Frame) -> PictureFormat | None:
    """The format of an encoded frame, as its first bytes tell; None: it is raw pixels.

    :raises PictureError: when it is of none that is known.
    """
    if frame.encoding in CHANNELS or is_yuv(frame.encoding):
        return None
    found = picture_format(frame.data)
    if found is None:
        raise ImageError(f"not a JPEG, PNG, WebP or BMP picture{_what_else(frame.data)}")
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
        return 1  # damaged EXIF in an intact picture
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scaling
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")  # a fourth byte that is not used, which Windows says is transparency
    if image.has_transparency_data:
        # Pasting lets other threads work meanwhile and takes half the memory of Image.alpha_composite.
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")
