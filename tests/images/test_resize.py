"""Every interpolation gives what its original gives: TensorFlow's or Pillow's own pixels."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from incv3d.config.preprocessing import Interpolation
from incv3d.frames import Encoding, Frame, Region
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec, fit, resize

ALL: tuple[Interpolation, ...] = get_args(Interpolation)
ORIGINALS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "pillow-nearest": Image.Resampling.NEAREST,
    "pillow-box": Image.Resampling.BOX,
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
    "pillow-lanczos": Image.Resampling.LANCZOS,
}
BY_TENSORFLOW = tuple(name for name in ALL if name not in ORIGINALS)
SIZES = ((1, 1), (1, 7), (7, 1), (299, 299), (301, 300), (640, 480), (37, 1023), (1500, 20), (601, 799))
"""Width and height: larger, smaller, one of each, odd, equal, of one pixel."""
TARGETS = ((299, 299), (224, 224), (48, 65), (1, 1))

TENSORFLOW = """
import sys
import numpy as np, tensorflow as tf
pictures, out = np.load(sys.argv[1]), {}
for name in pictures.files:
    x = tf.cast(pictures[name][None], tf.float32)
    for width, height in eval(sys.argv[3]):
        size, key = [height, width], f"{name} {width}x{height}"
        out["bilinear " + key] = tf.raw_ops.ResizeBilinear(images=x, size=size).numpy()[0]
        out["tf-bilinear " + key] = tf.image.resize(x, size).numpy()[0]
        out["tf-bilinear-antialias " + key] = tf.image.resize(x, size, antialias=True).numpy()[0]
np.savez(sys.argv[2], **out)
"""


def spec_of(interpolation: Interpolation, width: int = 299, height: int = 299, **others: object) -> InputSpec:
    """A network's input whose pixels stay what they are."""
    spec = InputSpec(height, width, 0.0, 1.0, "stretch", 1.0, interpolation)
    return replace(spec, **others)  # type: ignore[arg-type]


def noise(width: int, height: int) -> npt.NDArray[np.uint8]:
    """The hardest picture there is, half of it in blocks, so that there are edges and areas, too."""
    random = np.random.default_rng(width * 10_000 + height)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    pixels[: height // 2] = pixels[: height // 2][::9, ::9].repeat(9, 0).repeat(9, 1)[: height // 2, :width]
    return pixels


def frame(data: bytes, encoding: Encoding | None = None, width: int = 0, height: int = 0) -> Frame:
    return Frame("test", data, encoding, received=0.0, captured=0.0, width=width, height=height)


def jpeg(pixels: npt.NDArray[np.uint8], **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def by_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, npt.NDArray[np.float32]]:
    """What TensorFlow makes of every size, by its functions' names here."""
    folder = tmp_path_factory.mktemp("tensorflow")
    np.savez(folder / "in.npz", **{f"{width}x{height}": noise(width, height) for width, height in SIZES})
    command = [
        sys.executable,
        "-c",
        TENSORFLOW,
        str(folder / "in.npz"),
        str(folder / "out.npz"),
        str(TARGETS),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with np.load(folder / "out.npz") as out:
        return dict(out)


@pytest.mark.parametrize("name", BY_TENSORFLOW)
def test_tensorflows_pixels_come_out_of_any_size(name: Interpolation, by_tensorflow) -> None:
    for size in SIZES:
        for width, height in TARGETS:
            got = resize(noise(*size), spec_of(name, width, height), exact=False)
            want = by_tensorflow[f"{name} {size[0]}x{size[1]} {width}x{height}"]
            atol = 1.001 if name == "tf-bilinear-antialias" else 0
            np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=f"{size} to {width}x{height}")


@pytest.mark.parametrize("name", [name for name in ORIGINALS if name != "bicubic"])
def test_pillows_pixels_come_out_of_any_size_to_the_bit(name: Interpolation) -> None:
    for size in SIZES:
        for target in TARGETS:
            pixels = noise(*size)
            want = np.asarray(Image.fromarray(pixels).resize(target, ORIGINALS[name]))
            np.testing.assert_array_equal(resize(pixels, spec_of(name, *target), exact=False), want)


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("pillow-")])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_becomes_what_pillow_alone_makes_of_it_to_the_bit(name, subsampling) -> None:
    for size in ((640, 480), (333, 501), (100, 80)):
        data = jpeg(noise(*size), subsampling=subsampling)
        want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((299, 299), ORIGINALS[name]))
        for mode in ("fast", "exact"):
            np.testing.assert_array_equal(Preprocessor(spec_of(name), 10**7, mode)(frame(data))[0], want)


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.parametrize(("resize_to", "target"), [(256, (224, 224)), (342, (299, 299)), (64, (64, 48))])
def test_resize_to_is_torchvisions_resize_and_center_crop(name, resize_to, target) -> None:
    """torchvision calls Pillow with these sizes, and rounds these margins (transforms/functional.py)."""
    width, height = target
    for size in ((640, 480), (481, 640), (333, 333), (1000, 77), (50, 61), (256, 256)):
        image = Image.fromarray(noise(*size))
        new_width, new_height = (int(resize_to * side / min(size)) for side in size)
        left, top = round((new_width - width) / 2.0), round((new_height - height) / 2.0)
        resized = image.resize((new_width, new_height), ORIGINALS[name])
        want = np.asarray(resized.crop((left, top, left + width, top + height)))
        spec = spec_of(name, width, height, fit="crop", resize_to=resize_to)
        np.testing.assert_array_equal(fit(np.asarray(image), spec)[0], want)


def test_a_strip_is_not_resized_whole_before_its_centre_is_taken() -> None:
    strip = np.zeros((2, 60_000, 3), np.uint8)
    strip[:, 29_000:31_000] = 200
    tracemalloc.start()
    got = fit(strip, spec_of("tf-bilinear", 224, 224, fit="crop", resize_to=256))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert got.shape == (1, 224, 224, 3) and (got == 200).all()
    assert peak < 50 * 2**20


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((960, 640), (480, 320)),
        ((1280, 960), (320, 240)),
        ((2560, 1920), (320, 240)),
        ((961, 640), (961, 640)),  # half of it has a pixel too many, and so another scale
        ((1100, 700), (550, 350)),  # 3/8 would be enough, but is no average
        ((480, 470), (480, 470)),
    ],
)
def test_fast_decoding_is_an_average_for_a_filter_with_antialiasing(size, decoded) -> None:
    """And hardly changes the pixels, where it changes those of 2015 a lot."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = [np.sin(x / 3 + y / 5), np.sin(x * y / 4000), np.sign(np.sin(x / 7) + np.cos(y / 6))]
    sent = frame(jpeg((np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8), subsampling="4:4:4"))
    differences = {}
    for name in ALL:
        fast, exact = (Preprocessor(spec_of(name, 80, 80), 10**7, mode) for mode in ("fast", "exact"))
        if fast._spec.antialias:
            assert fast.decode(sent).shape[1::-1] == decoded
        differences[name] = np.abs(fast(sent) - exact(sent)).mean()
    if decoded != size:
        for name in ALL:
            share = 0.25 if spec_of(name).antialias else 1
            assert differences[name] <= differences["bilinear"] * share, (name, differences)


@pytest.mark.parametrize("name", ALL)
def test_region_orientation_crop_and_order_combine(name: Interpolation) -> None:
    """The same pixels, however they come: they are decoded, turned and cut first, and only then resized."""
    upright = noise(320, 240)
    region = Region(0.25, 0.5, 0.5, 0.5)
    spec = spec_of(name, 65, 48, fit="crop", crop_fraction=0.9)
    want = Preprocessor(spec, 10**6)(frame(upright[120:, 80:240].tobytes(), "rgb24", 160, 120))
    turned = np.ascontiguousarray(np.rot90(upright))  # against the clock
    png = io.BytesIO()
    Image.fromarray(turned).save(png, "PNG")
    for sent in (frame(png.getvalue()), frame(turned[:, :, ::-1].tobytes(), "bgr24", 240, 320)):
        part = replace(sent, transform="rotate90", region=region)
        np.testing.assert_array_equal(Preprocessor(spec, 10**6)(part), want)
        other = replace(spec, channel_order="bgr", layout="nchw")
        got = Preprocessor(other, 10**6)(part)
        np.testing.assert_array_equal(got, want[..., ::-1].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_network_of_one_channel_gets_what_pillow_makes_of_the_luma(name: Interpolation) -> None:
    pixels = noise(320, 240)
    grey = Image.fromarray(pixels).convert("L")
    want = np.asarray(grey.resize((65, 48), ORIGINALS[name]))[None, :, :, None]
    prepare = Preprocessor(spec_of(name, 65, 48, channels=1), 10**6, "exact")
    for sent in (
        frame(pixels.tobytes(), "rgb24", 320, 240),
        frame(pixels[:, :, ::-1].tobytes(), "bgr24", 320, 240),
        frame(grey.tobytes(), "gray8", 320, 240),
    ):
        np.testing.assert_array_equal(prepare(sent), want)


@pytest.mark.parametrize("folder", ["images", "teach/ants-bees/val/ants", "cases/pics"])
def test_photographs_become_what_pillow_alone_makes_of_them_to_the_bit(shared: Path, folder: str) -> None:
    def as_its_maker(path: Path) -> npt.NDArray[np.uint8]:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((299, 299), Image.Resampling.BILINEAR))

    paths = sorted((shared / folder).iterdir())
    assert len(paths) >= 20
    for mode in ("fast", "exact"):
        prepare = Preprocessor(spec_of("pillow-bilinear"), 10**7, mode)
        for path in paths:
            np.testing.assert_array_equal(prepare(frame(path.read_bytes()))[0], as_its_maker(path), str(path))


@pytest.mark.parametrize("name", ALL)
def test_grey_is_resized_as_its_three_equal_channels(name: Interpolation) -> None:
    grey = noise(640, 480)[:, :, 0]
    got = Preprocessor(spec_of(name), 10**6)(frame(grey.tobytes(), "gray8", 640, 480))
    want = Preprocessor(spec_of(name), 10**6)(
        frame(np.repeat(grey[:, :, None], 3, axis=2).tobytes(), "rgb24", 640, 480)
    )
    np.testing.assert_array_equal(got, want)
