"""Convert frames to the model's input, exactly as TensorFlow does."""

from __future__ import annotations

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
from PIL import Image

from incv3d.frames import Encoding
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec, resize_bilinear
from sample_images import INCEPTION, LITE0, PREPARE, chunk, encoded, frame, smooth

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


def test_raw_pixels_are_read_in_their_order() -> None:
    pixels = np.asarray(smooth(5, 3))
    rgb = frame(pixels.tobytes(), "rgb24", 5, 3)
    bgr = frame(np.ascontiguousarray(pixels[:, :, ::-1]).tobytes(), "bgr24", 5, 3)
    for sent in (rgb, bgr):
        np.testing.assert_array_equal(PREPARE.decode(sent), pixels)
        assert PREPARE(sent).shape == (1, 299, 299, 3)
    grey = frame(pixels[:, :, 0].tobytes(), "gray8", 5, 3)
    np.testing.assert_array_equal(PREPARE.decode(grey)[:, :, 2], pixels[:, :, 0])


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


@pytest.mark.parametrize("alpha", [0, 255])
def test_the_fourth_byte_of_a_bmp_that_is_not_used_is_no_transparency(alpha: int) -> None:
    pixels = np.asarray(smooth(32, 24))
    rows = np.dstack([pixels[::-1, :, ::-1], np.full((24, 32), alpha, np.uint8)]).tobytes()
    info = struct.pack("<IiiHHIIiiII", 108, 32, 24, 1, 32, 3, len(rows), 0, 0, 0, 0)
    info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000).ljust(68, b"\0")
    data = b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows
    np.testing.assert_array_equal(PREPARE.decode(frame(data)), pixels)


def test_transparent_pixels_are_shown_on_white() -> None:
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    assert PREPARE.decode(frame(encoded(image, "PNG"))).tolist() == [[[200, 0, 0], [255, 255, 255]]]
