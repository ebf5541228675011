"""From bytes to the model's input: exact where TensorFlow is the measure, unharmed by what is damaged."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from incv3d.frames import Encoding, Frame, Region, Transform
from incv3d.images.preprocess import ImageError, PictureTooLarge, Preprocessor
from incv3d.images.resize import InputSpec, resize_bilinear

INCEPTION = InputSpec(299, 299, 128.0, 128.0, "stretch", 1.0, "bilinear")
LITE0 = InputSpec(224, 224, 127.0, 128.0, "crop", 0.875, "bicubic")
PREPARE = Preprocessor(INCEPTION, max_pixels=4_000_000)

TENSORFLOW = """
import sys
import numpy as np, tensorflow as tf
out = {}
for name in sys.argv[2:]:
    pixels = tf.raw_ops.DecodeJpeg(contents=open(name, "rb").read(), channels=3)
    resized = tf.raw_ops.ResizeBilinear(images=tf.cast(pixels[None], tf.float32), size=[299, 299])
    out[name + ":pixels"], out[name + ":input"] = pixels.numpy(), ((resized - 128) / 128).numpy()
np.savez(sys.argv[1], **out)
"""


def frame(data: bytes, encoding: Encoding | None = None, width: int = 0, height: int = 0) -> Frame:
    return Frame("zmq", data, encoding, received=0.0, captured=0.0, width=width, height=height)


def smooth(width: int, height: int) -> Image.Image:
    """A picture with slopes and edges, not noise: noise hides an error of sampling."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // width, y * 255 // height, ((x // 16 + y // 16) % 2) * 200)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def test_jpegs_become_tensorflows_own_pixels_and_input_to_the_bit(tmp_path: Path) -> None:
    names = []
    for number, (width, height) in enumerate(((100, 100), (640, 480), (299, 299), (411, 1023), (1000, 40))):
        names.append(str(tmp_path / f"{number}.jpg"))
        Path(names[-1]).write_bytes(encoded(smooth(width, height), "JPEG", quality=80))
    out = tmp_path / "tensorflow.npz"
    subprocess.run(
        [sys.executable, "-c", TENSORFLOW, str(out), *names], check=True, capture_output=True, timeout=120
    )
    with np.load(out) as tensorflow:
        for name in names:
            sent = frame(Path(name).read_bytes())
            np.testing.assert_array_equal(PREPARE.decode(sent), tensorflow[f"{name}:pixels"])
            np.testing.assert_array_equal(PREPARE(sent), tensorflow[f"{name}:input"])


def test_the_input_has_the_models_shape_range_and_type() -> None:
    for spec in (INCEPTION, LITE0):
        for size in ((1, 1), (3, 500), (640, 480)):
            got = Preprocessor(spec, 10**7)(frame(encoded(smooth(*size), "PNG")))
            assert got.shape == (1, spec.height, spec.width, 3) and got.dtype == np.float32
            assert got.min() >= -1 and got.max() <= 1.01


def test_a_centre_crop_is_what_pillow_makes_of_it() -> None:
    image = smooth(400, 300)
    side = round(300 * 0.875)
    left, top = (400 - side) // 2, (300 - side) // 2
    box = (left, top, left + side, top + side)
    want = np.asarray(image.crop(box).resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    got = Preprocessor(LITE0, 10**6)(frame(encoded(image, "PNG")))
    np.testing.assert_allclose(got[0], (want - 127) / 128, atol=1e-6)


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    image = smooth(2000, 1600)
    sent = frame(encoded(image, "JPEG", quality=95))
    assert PREPARE.decode(sent).shape == (600, 750, 3)
    full = resize_bilinear(np.asarray(image), 299, 299)
    # The slopes; the chequered channel is what no two ways of making smaller agree on.
    assert np.abs((PREPARE(sent)[0] * 128 + 128) - full)[:, :, :2].mean() < 1


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_their_exif_says(format_: str, orientation: int) -> None:
    image = smooth(48, 32)
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, format_, exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), int)
    assert np.abs(PREPARE.decode(frame(data)) - want).max() <= (0 if format_ == "PNG" else 30)


def test_every_format_and_colour_model_becomes_rgb() -> None:
    image = smooth(32, 24)
    want = np.asarray(image)
    for format_, options in (("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})):
        np.testing.assert_array_equal(PREPARE.decode(frame(encoded(image, format_, **options))), want)
    grey = np.asarray(image.convert("L"))
    for format_ in ("PNG", "BMP"):
        got = PREPARE.decode(frame(encoded(image.convert("L"), format_)))
        np.testing.assert_array_equal(got, np.repeat(grey[:, :, None], 3, axis=2))
    for mode, format_ in (("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG")):
        assert PREPARE.decode(frame(encoded(image.convert(mode), format_))).shape == (24, 32, 3), mode


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (PREPARE.decode(frame(encoded(image, "PNG"))) == 255).all()
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (PREPARE.decode(frame(encoded(half, "WEBP", lossless=True))) == 127).all()


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    got = PREPARE.decode(frame(encoded(Image.fromarray(ramp), "PNG")))
    np.testing.assert_array_equal(got[:, :, 0], ramp >> 8)


@pytest.mark.parametrize("spec", [INCEPTION, LITE0])
def test_raw_frames_become_the_same_input_whatever_the_order_of_their_bytes(spec: InputSpec) -> None:
    prepare = Preprocessor(spec, 10**6)
    for width, height in ((640, 480), (97, 301)):
        pixels = np.asarray(smooth(width, height))
        rgb = prepare(frame(pixels.tobytes(), "rgb24", width, height))
        bgr = prepare(frame(pixels[:, :, ::-1].tobytes(), "bgr24", width, height))
        np.testing.assert_array_equal(bgr, rgb)
        fourth = np.full((height, width, 1), 77, np.uint8)
        rgba = np.concatenate([pixels, fourth], axis=2)
        bgra = np.concatenate([pixels[:, :, ::-1], fourth], axis=2)
        np.testing.assert_array_equal(prepare(frame(rgba.tobytes(), "rgba", width, height)), rgb)
        np.testing.assert_array_equal(prepare(frame(bgra.tobytes(), "bgra", width, height)), rgb)
        grey = pixels[:, :, 2]
        as_rgb = np.repeat(grey[:, :, np.newaxis], 3, axis=2).tobytes()
        want = prepare(frame(as_rgb, "rgb24", width, height))
        np.testing.assert_array_equal(prepare(frame(grey.tobytes(), "gray8", width, height)), want)


def test_a_large_raw_frame_is_not_copied_whole() -> None:
    width, height = 4000, 3000
    data = bytes(width * height * 3)
    prepare = Preprocessor(INCEPTION, width * height)
    for encoding, size_bytes in (("bgr24", len(data)), ("rgb24", len(data)), ("gray8", len(data) // 3)):
        sent = frame(data[:size_bytes], encoding, width, height)
        tracemalloc.start()
        prepare(sent)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(data) / 3, encoding


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_layout_and_channel_order_are_the_models(layout: str, order: str) -> None:
    sent = frame(encoded(smooth(64, 48), "PNG"))
    plain = PREPARE(sent)
    other = InputSpec(299, 299, 128.0, 128.0, "stretch", 1.0, "bilinear", order, layout)
    got = Preprocessor(other, 10**6)(sent)
    want = plain if order == "rgb" else plain[..., ::-1]
    np.testing.assert_array_equal(got, want if layout == "nhwc" else want.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("encoding", ["rgb24", "bgr24", "gray8"])
def test_mean_and_scale_per_channel_are_in_the_networks_order(order: str, encoding: Encoding) -> None:
    pixels = np.asarray(smooth(96, 64))
    data = {"rgb24": pixels, "bgr24": pixels[:, :, ::-1], "gray8": pixels[:, :, 2]}[encoding].tobytes()
    sent = frame(data, encoding, 96, 64)
    raw = replace(INCEPTION, mean=0.0, scale=1.0, channel_order=order)
    mean, scale = (103.939, 116.779, 123.68), (57.4, 57.1, 58.4)
    got = Preprocessor(replace(raw, mean=mean, scale=scale), 10**6)(sent)
    want = (Preprocessor(raw, 10**6)(sent) - np.array(mean)) / np.array(scale)
    np.testing.assert_allclose(got, want, atol=1e-5)
    got = Preprocessor(replace(raw, mean=mean), 10**6)(sent)
    np.testing.assert_allclose(got, want * np.array(scale), atol=1e-4)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_network_of_one_channel_gets_the_luma_that_pillow_makes(layout: str, interpolation: str) -> None:
    image = smooth(96, 64)
    shape = (1, 1, 64, 96) if layout == "nchw" else (1, 64, 96, 1)
    spec = InputSpec(64, 96, 0.0, 1.0, "stretch", 1.0, interpolation, "rgb", layout, 1)
    got = Preprocessor(spec, 10**6)(frame(encoded(image, "PNG")))
    assert got.shape == shape and got.dtype == np.float32
    luma = np.asarray(image.convert("L"))
    np.testing.assert_allclose(got.reshape(64, 96), luma, atol=0.51)
    bgr = np.asarray(image)[:, :, ::-1].tobytes()
    np.testing.assert_allclose(Preprocessor(spec, 10**6)(frame(bgr, "bgr24", 96, 64)), got, atol=1e-4)
    grey = Preprocessor(spec, 10**6)(frame(luma.tobytes(), "gray8", 96, 64))
    np.testing.assert_array_equal(grey.reshape(64, 96), luma)


def test_exact_decodes_at_full_size() -> None:
    image = smooth(2000, 1600)
    sent = frame(encoded(image, "JPEG", quality=95))
    exact = Preprocessor(INCEPTION, 4_000_000, "exact")
    assert exact.decode(sent).shape == (1600, 2000, 3)
    full = np.asarray(Image.open(io.BytesIO(sent.data)).convert("RGB"))
    assert np.abs(exact(sent)[0] * 128 + 128 - resize_bilinear(full, 299, 299)).mean() < 1


def test_a_graph_that_decodes_by_itself_gets_the_jpeg_and_else_a_picture() -> None:
    prepare = Preprocessor(INCEPTION, 4_000_000, "graph")
    image = smooth(48, 32)
    pixels = np.asarray(image)
    plain = encoded(image, "JPEG")
    assert prepare(frame(plain)) == plain
    assert prepare(frame(memoryview(plain))) == plain
    turned = image.getexif()
    turned[0x0112] = 6
    for data, size in (
        (encoded(image, "JPEG", exif=turned), (48, 32, 3)),
        (encoded(image.convert("CMYK"), "JPEG"), (32, 48, 3)),
        (encoded(image, "PNG"), (32, 48, 3)),
    ):
        got = prepare(frame(data))
        assert isinstance(got, np.ndarray) and got.dtype == np.uint8 and got.shape == size
    bgr = prepare(frame(pixels[:, :, ::-1].tobytes(), "bgr24", 48, 32))
    np.testing.assert_array_equal(bgr, pixels)


def test_a_damaged_or_too_large_jpeg_is_not_left_to_the_graph() -> None:
    prepare = Preprocessor(INCEPTION, 4_000_000, "graph")
    data = encoded(smooth(640, 480), "JPEG")
    half = len(data) // 2
    for damaged in (
        data[:half],
        data[:half] + b"\xff\xd9",
        data[:half] + b"\xff\xd0" * 20 + data[half + 40 :],
        data[:200] + b"\xff\xd9",
    ):
        with pytest.raises(ImageError, match="damaged JPEG"):
            prepare(frame(damaged))
    with pytest.raises(PictureTooLarge):
        Preprocessor(INCEPTION, 640 * 480 - 1, "graph")(frame(data))


def test_raw_pixels_are_read_in_their_order() -> None:
    pixels = np.asarray(smooth(5, 3))
    rgb = frame(pixels.tobytes(), "rgb24", 5, 3)
    bgr = frame(np.ascontiguousarray(pixels[:, :, ::-1]).tobytes(), "bgr24", 5, 3)
    for sent in (rgb, bgr):
        np.testing.assert_array_equal(PREPARE.decode(sent), pixels)
        assert PREPARE(sent).shape == (1, 299, 299, 3)
    grey = frame(pixels[:, :, 0].tobytes(), "gray8", 5, 3)
    np.testing.assert_array_equal(PREPARE.decode(grey)[:, :, 2], pixels[:, :, 0])


def test_raw_pixels_of_the_wrong_size_are_refused() -> None:
    for data, width, height in ((b"x" * 44, 5, 3), (b"x" * 46, 5, 3), (b"", 0, 0), (b"x", 1, -1)):
        with pytest.raises(ImageError, match=r"pixels|is 45 bytes"):
            PREPARE.decode(frame(data, "rgb24", width, height))
    with pytest.raises(PictureTooLarge):
        PREPARE.decode(frame(b"x", "gray8", 65_535, 65_535))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_picture_cut_off_anywhere_is_refused(format_: str) -> None:
    data = encoded(smooth(64, 48), format_)
    for length in {1, 2, 3, 10, 12, 20, 40, len(data) // 4, len(data) // 2, len(data) * 3 // 4}:
        with pytest.raises(ImageError):
            PREPARE.decode(frame(data[:length]))


def test_a_jpeg_with_padding_between_its_segments_is_read() -> None:
    data = encoded(smooth(64, 48), "JPEG")
    middle = data.index(b"\xff\xdb")
    padded = data[:middle] + b"\0" * 20 + data[middle:]
    difference = PREPARE.decode(frame(padded)).astype(int) - PREPARE.decode(frame(data))
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("said", ["jpeg", "png", "webp", "bmp"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_first_bytes_tell_the_format_not_what_is_said_of_it(kind: str, said: Encoding) -> None:
    data = encoded(smooth(8, 8), kind)
    np.testing.assert_array_equal(PREPARE.decode(frame(data, said)), PREPARE.decode(frame(data)))


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    def png(width: int, height: int) -> bytes:
        body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
        header = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        return b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")

    for width, height in ((60_000, 60_000), (10_000, 9_000), (2001, 2000)):
        with pytest.raises(PictureTooLarge):
            PREPARE.decode(frame(png(width, height)))
    jpeg = bytearray(encoded(smooth(16, 16), "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(PictureTooLarge, match="60000x60000 pixels, at most 4000000"):
        PREPARE.decode(frame(bytes(jpeg)))


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBP"]


@settings(max_examples=300)
@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_garbage_is_a_picture_error_and_nothing_else(head: bytes, tail: bytes) -> None:
    try:
        PREPARE.decode(frame(head + tail))
    except ImageError as error:
        assert str(error)


@settings(max_examples=300)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_is_a_picture_or_a_picture_error(format_: str, at: int, value: int) -> None:
    data = bytearray(encoded(smooth(24, 24), format_))
    data[at % len(data)] = value
    try:
        assert PREPARE(frame(bytes(data))).shape == (1, 299, 299, 3)
    except ImageError as error:
        assert str(error)


def test_a_pixel_counts_four_times_where_a_picture_cannot_be_decoded_small() -> None:
    image = smooth(300, 200)
    admitting = Preprocessor(INCEPTION, max_pixels=4 * 300 * 200 - 1)
    for format_ in ("PNG", "WEBP", "BMP"):
        with pytest.raises(
            PictureTooLarge, match="300x200 pixels, at most 59999 are admitted of this format"
        ):
            admitting.decode(frame(encoded(image, format_)))
    assert admitting.decode(frame(encoded(image, "JPEG"))).shape == (200, 300, 3)


def test_a_jpeg_of_more_scans_than_encoders_write_is_refused_before_it_is_decoded() -> None:
    data = encoded(smooth(64, 64), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[first : data.index(b"\xff", first + 2)]
    assert PREPARE.decode(frame(data)).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="more scans than any encoder writes"):
        PREPARE.decode(frame(data[:first] + scan * 1000 + data[first:]))


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def test_sixteen_bit_colours_are_scaled_with_and_without_transparency() -> None:
    pixels = np.asarray(smooth(24, 16))
    wide = (pixels.astype(np.uint16) * 257).astype(">u2")
    opaque = np.full((16, 24, 1), 65_535, ">u2")
    for kind, channels in ((2, wide), (6, np.concatenate((wide, opaque), axis=2))):
        rows = b"".join(b"\0" + row.tobytes() for row in channels)
        head = (24).to_bytes(4, "big") + (16).to_bytes(4, "big") + bytes((16, kind, 0, 0, 0))
        chunks = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
        got = PREPARE.decode(frame(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)))
        np.testing.assert_array_equal(got, pixels)


def test_a_moving_picture_is_its_first_one() -> None:
    image = smooth(32, 24)
    others = [image.rotate(180)] * 3
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(image, format_, save_all=True, append_images=others, **options)
        np.testing.assert_array_equal(PREPARE.decode(frame(data)), np.asarray(image))


def test_damaged_exif_harms_no_picture() -> None:
    image = smooth(32, 24)
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        for exif in (b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
            got = PREPARE.decode(frame(encoded(image, format_, exif=exif, **options)))
            np.testing.assert_array_equal(got, np.asarray(image))


@pytest.mark.parametrize("alpha", [0, 255])
def test_the_fourth_byte_of_a_bmp_that_is_not_used_is_no_transparency(alpha: int) -> None:
    pixels = np.asarray(smooth(32, 24))
    rows = np.dstack([pixels[::-1, :, ::-1], np.full((24, 32), alpha, np.uint8)]).tobytes()
    info = struct.pack("<IiiHHIIiiII", 108, 32, 24, 1, 32, 3, len(rows), 0, 0, 0, 0)
    info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000).ljust(68, b"\0")
    data = b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows
    np.testing.assert_array_equal(PREPARE.decode(frame(data)), pixels)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a raw format"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "an MP4 film"),
        (base64.b64encode(encoded(smooth(8, 8), "JPEG")), "a JPEG in Base64"),
        (b"data:image/png;base64,iVBORw0KGgo", "a data URL"),
        (encoded(smooth(8, 8), "GIF"), "GIF"),
        (encoded(smooth(8, 8), "TIFF"), "TIFF"),
        (b"<!DOCTYPE html><title>401</title>", "a web page"),
    ],
)
def test_what_people_send_instead_is_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"^not a JPEG, PNG, WebP or BMP picture, but {name}"):
        PREPARE.decode(frame(data))


def test_transparent_pixels_are_shown_on_white() -> None:
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    assert PREPARE.decode(frame(encoded(image, "PNG"))).tolist() == [[[200, 0, 0], [255, 255, 255]]]


TURNS: dict[Transform, Image.Transpose | None] = {
    "none": None,
    "hflip": Image.Transpose.FLIP_LEFT_RIGHT,
    "vflip": Image.Transpose.FLIP_TOP_BOTTOM,
    "rotate90": Image.Transpose.ROTATE_270,  # Pillow counts against the clock
    "rotate180": Image.Transpose.ROTATE_180,
    "rotate270": Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("encoding", ["png", "rgb24", "bgr24", "gray8"])
@pytest.mark.parametrize("transform", TURNS)
def test_pictures_are_turned_clockwise_and_cut_as_they_are_then_seen(
    transform: Transform, encoding: Encoding
) -> None:
    image = smooth(48, 32)
    if encoding == "gray8":
        image = image.convert("L").convert("RGB")
    pixels = np.asarray(image)
    raw = {"rgb24": pixels, "bgr24": pixels[:, :, ::-1], "gray8": pixels[:, :, :1]}
    size = (48, 32) if encoding in raw else (0, 0)
    data = raw[encoding].tobytes() if encoding in raw else encoded(image, "PNG")
    sent = replace(frame(data, encoding, *size), transform=transform)
    turn = TURNS[transform]
    want = image.transpose(turn) if turn is not None else image
    np.testing.assert_array_equal(PREPARE.decode(sent), np.asarray(want))
    corner = replace(sent, region=Region(0.5, 0.0, 0.5, 0.25))
    width, height = want.size
    cut = want.crop((width // 2, 0, width, height // 4))
    np.testing.assert_array_equal(PREPARE.decode(corner), np.asarray(cut))
    np.testing.assert_allclose(
        PREPARE(corner)[0] * 128 + 128, resize_bilinear(np.asarray(cut), 299, 299), atol=1e-3
    )


def test_a_picture_is_upright_by_its_exif_before_it_is_turned() -> None:
    image = smooth(48, 32)
    exif = image.getexif()
    exif[0x0112] = 6
    sent = replace(frame(encoded(image, "PNG", exif=exif)), transform="rotate90")
    np.testing.assert_array_equal(
        PREPARE.decode(sent), np.asarray(image.transpose(Image.Transpose.ROTATE_180))
    )


@pytest.mark.parametrize(
    ("region", "transform", "orientation", "shape"),
    [
        (None, "none", 1, (600, 750)),  # 3/8: the least eighths of 2000x1600 that cover twice 299
        (Region(0, 0, 1, 1), "none", 1, (600, 750)),
        (Region(0.5, 0.5, 0.5, 0.5), "none", 1, (800, 1000)),  # no half would do
        (Region(0, 0, 0.125, 0.125), "none", 1, (200, 250)),  # no more is there
        (Region(0.2, 0, 0.6, 1), "none", 1, (800, 600)),  # 1/2
        (Region(0.2, 0, 0.8, 1), "none", 1, (600, 600)),
        (Region(0, 0.2, 1, 0.6), "rotate90", 1, (600, 800)),
        (Region(0, 0.2, 1, 0.6), "none", 6, (600, 800)),
        (Region(0.2, 0, 0.6, 1), "rotate270", 8, (800, 600)),
        (Region(0, 0, 1e-9, 1e-9), "none", 1, (1, 1)),
    ],
)
def test_a_small_region_of_a_large_jpeg_keeps_its_detail(region, transform, orientation, shape) -> None:
    image = smooth(2000, 1600)
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=90, exif=exif)
    sent = replace(frame(data), transform=transform, region=region)
    got = PREPARE.decode(sent)
    assert got.shape == (*shape, 3)
    whole = Preprocessor(INCEPTION, 4_000_000, "exact").decode(replace(sent, region=None))
    want = Image.fromarray(np.ascontiguousarray(whole))
    if region:
        want = want.crop(region.box(*want.size))
    want = want.resize(shape[::-1], Image.Resampling.BOX)
    slopes = np.abs(got.astype(int) - np.asarray(want, int))[:, :, :2]
    assert slopes.mean() < 2, "another part of the picture"


def test_exact_cuts_the_full_picture_and_resizes_only_then() -> None:
    image = smooth(2000, 1600)
    data = encoded(image, "JPEG", quality=90)
    exact = Preprocessor(INCEPTION, 4_000_000, "exact")
    whole = exact.decode(frame(data))
    got = exact(replace(frame(data), region=Region(0.1, 0.25, 0.5, 0.5)))
    want = (resize_bilinear(whole[400:1200, 200:1200], 299, 299) - 128) / 128
    np.testing.assert_allclose(got[0], want, atol=1e-6)


def test_a_graph_that_decodes_by_itself_is_fed_the_region_decoded() -> None:
    data = encoded(smooth(400, 320), "JPEG")
    graph = Preprocessor(INCEPTION, 4_000_000, "graph")
    whole = graph.decode(frame(data))
    assert graph(frame(data)) == data
    part = graph(replace(frame(data), region=Region(0.5, 0.5, 0.5, 0.5)))
    np.testing.assert_array_equal(part, whole[160:, 200:])
    turned = graph(replace(frame(data), transform="rotate180"))
    np.testing.assert_array_equal(turned, whole[::-1, ::-1])
    assert turned.flags.c_contiguous
