"""Presets: whole frames get the scores that ONNX Runtime and Pillow give by hand, as in training."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from PIL import Image

from incv3d.config.custom import CustomSection
from incv3d.config.loading import ConfigError, load_config
from incv3d.config.schema import Config
from incv3d.frames import Frame
from incv3d.images.demo import demo_folder
from incv3d.models.custom import MAKER_VERSION, _settings
from incv3d.models.entry import ModelError
from incv3d.models.importing import import_model
from incv3d.models.store import ModelStore
from incv3d.pipeline.loader import load_classifier
from onnx_networks import colours, mobilenet_v3, resnet18, save
from processes import run_incv3d
from webserver import web_server

pytestmark = pytest.mark.slow
ort = pytest.importorskip("onnxruntime")
IMAGENET = (np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]))
HALF = (np.float32([0.5] * 3), np.float32([0.5] * 3))
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
SIZES = ((640, 480), (481, 641), (300, 900), (150, 200), (2000, 1500))
"""Landscape, portrait with odd sides, narrow, smaller than the network, much larger."""


def photographs() -> list[bytes]:
    """Photographs of several sizes, as JPEGs."""
    found = []
    for number, size in enumerate(SIZES):
        name = ("cat.jpg", "coffee.jpg")[number % 2]
        out = io.BytesIO()
        with Image.open(demo_folder() / name) as image:
            image.convert("RGB").resize(size).save(out, "JPEG", quality=90)
        found.append(out.getvalue())
    return found


def evaluated(
    jpeg: bytes, shorter: int, side: int, resample: Any, mean: np.ndarray, std: np.ndarray
) -> np.ndarray:
    """The pixels of ``Resize(shorter)``, ``CenterCrop(side)``, ``ToTensor()``, ``Normalize(mean, std)``."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    width, height = image.size
    if width <= height:
        resized = image.resize((shorter, int(shorter * height / width)), resample)
    else:
        resized = image.resize((int(shorter * width / height), shorter), resample)
    left, top = round((resized.width - side) / 2), round((resized.height - side) / 2)
    cut = resized.crop((left, top, left + side, top + side))
    pixels = np.asarray(cut, np.float32) / np.float32(255)
    return ((pixels - mean) / std).transpose(2, 0, 1)[np.newaxis]


def by_hand(file: Path, pixels: np.ndarray) -> np.ndarray:
    logits = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, {"input": pixels})
    exponentials = np.exp(logits[0].ravel().astype(np.float64) - logits[0].max())
    return exponentials / exponentials.sum()


def configured(folder: Path, file: Path, **custom: Any) -> Config:
    path = folder / "incv3d.yaml"
    section = {"file": str(file), **custom}
    path.write_text(yaml.safe_dump({"custom": section, "session": {"preprocess": "exact"}}))
    return load_config(str(path)).config


def scores_of(folder: Path, config: Config, jpegs: list[bytes]) -> tuple[list[np.ndarray], list[str]]:
    """All scores of whole frames, and the lines of the log."""
    lines: list[str] = []
    loaded = load_classifier(config, ModelStore(folder / "state"), 1, lines.append)
    found = []
    for jpeg in jpegs:
        now = time.monotonic()
        frame = Frame("test", jpeg, None, received=now, captured=now, top_k=1000)
        answer = loaded.classifier.classify(loaded.classifier.prepare(frame))
        scores = np.zeros(len(answer.predictions))
        for each in answer.predictions:
            scores[each.index] = each.score
        found.append(scores)
    loaded.classifier.close()
    return found, lines


def quantised(model: Any, folder: Path, side: int) -> Path:
    """A network with quantize and dequantize operations around each of its own, calibrated here."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [
                {"input": evaluated(each, side, side, BILINEAR, *IMAGENET)} for each in photographs()
            ]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    source, target = save(model, folder / "float.onnx"), folder / "int8.onnx"
    quantize_static(
        source, target, Images(), quant_format=QuantFormat.QDQ, per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip
    return target


Numbers = tuple[np.ndarray, np.ndarray]
CASES: dict[str, tuple[Callable[..., Any], int, dict[str, Any], int, Any, Numbers]] = {
    "torchvision": (resnet18, 224, {"preset": "torchvision"}, 256, BILINEAR, IMAGENET),
    "resize_size=232": (
        mobilenet_v3, 224, {"preset": "torchvision", "resize_to": 232}, 232, BILINEAR, IMAGENET
    ),
    "Inception-v3": (resnet18, 299, {"preset": "torchvision"}, 342, BILINEAR, IMAGENET),
    "timm": (mobilenet_v3, 224, {"preset": "timm"}, 256, BICUBIC, IMAGENET),
    "crop_pct=0.9": (mobilenet_v3, 224, {"preset": "timm", "crop_fraction": 0.9}, 248, BICUBIC, IMAGENET),
    "crop_pct=0.95": (resnet18, 240, {"preset": "timm", "crop_fraction": 0.95}, 252, BICUBIC, IMAGENET),
    "crop_pct=1.0": (
        mobilenet_v3, 224, {"preset": "timm-inception", "crop_fraction": 1.0}, 224, BICUBIC, HALF
    ),
    "timm-inception": (mobilenet_v3, 192, {"preset": "timm-inception"}, 219, BICUBIC, HALF),
    "another mean": (
        mobilenet_v3, 96, {"preset": "timm-inception", "mean": [0.1, 0.2, 0.3]}, 109, BICUBIC,
        (np.float32([0.1, 0.2, 0.3]), HALF[1]),
    ),
    "another interpolation": (
        mobilenet_v3, 96, {"preset": "torchvision", "interpolation": "pillow-bicubic"}, 110, BICUBIC,
        IMAGENET,
    ),
    "a range": (
        mobilenet_v3, 96, {"preset": "torchvision", "pixel_range": [0, 1]}, 110, BILINEAR,
        (np.float32([0] * 3), np.float32([1] * 3)),
    ),
}  # fmt: skip
"""Network, its size, settings; and by hand: the shorter side, the filter, mean and std."""


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_onnx_runtime_and_pillow_by_hand(tmp_path: Path, case: str) -> None:
    make, side, custom, shorter, resample, numbers = CASES[case]
    file = save(make(side), tmp_path / "net.onnx")
    jpegs = photographs()
    got, lines = scores_of(tmp_path, configured(tmp_path, file, **custom), jpegs)
    for jpeg, scores in zip(jpegs, got, strict=True):
        want = by_hand(file, evaluated(jpeg, shorter, side, resample, *numbers))
        assert np.abs(scores - want).max() <= 1e-5
    # The scores depend on every one of these numbers.
    almost = by_hand(file, evaluated(jpegs[0], shorter + 1, side, resample, *numbers))
    assert np.abs(got[0] - almost).max() > 1e-4
    name = custom["preset"]
    assert f"preset {name}: resized to {shorter} on the shorter side, then center-cropped, " in "\n".join(
        lines
    )
    if "pixel_range" not in custom:
        mean = ", ".join(f"{each:g}" for each in (numbers[0] if len(set(numbers[0])) > 1 else numbers[0][:1]))
        assert any(f"custom.preset {name}: mean {mean}, std " in line for line in lines), lines


def test_a_quantised_network_gets_them_too(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    file = quantised(resnet18(224), tmp_path, 224)
    jpegs = photographs()
    got, lines = scores_of(tmp_path, configured(tmp_path, file, preset="torchvision"), jpegs)
    for jpeg, scores in zip(jpegs, got, strict=True):
        want = by_hand(file, evaluated(jpeg, 256, 224, BILINEAR, *IMAGENET))
        assert np.abs(scores - want).max() <= 1e-5
    plain, lines = scores_of(tmp_path / "plain", configured(tmp_path, file), jpegs[:1])
    (pixels,) = (line for line in lines if line.startswith("pixels:"))
    assert "its quantized input (uint8) holds" in pixels and plain[0].sum() == pytest.approx(1, abs=1e-5)


def test_a_quantised_session_says_int8(tmp_path: Path) -> None:
    file = quantised(mobilenet_v3(64), tmp_path, 64)
    state = tmp_path / "state"
    configured(tmp_path, file, preset="torchvision")
    done = run_incv3d(state, "model", "prepare", "--config", str(tmp_path / "incv3d.yaml"))
    assert done.returncode == 0, done.stderr
    assert f"custom is ready for onnx {ort.__version__}, int8" in done.stdout


def test_import_takes_a_preset(tmp_path: Path) -> None:
    file = save(mobilenet_v3(96), tmp_path / "net.onnx")
    state = tmp_path / "state"
    done = run_incv3d(state, "model", "import", str(file), "--preset", "timm")
    assert done.returncode == 0, done.stderr
    assert (
        "preset timm: resized to 109 on the shorter side, then center-cropped, pillow-bicubic" in done.stderr
    )
    assert "custom.preset timm: mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225" in done.stderr
    shown = run_incv3d(state, "model", "show", "net").stdout
    assert "resized to 109 on the shorter side, then center-cropped, pillow-bicubic" in shown


def test_a_network_is_fetched_with_a_preset(tmp_path: Path) -> None:
    content = save(mobilenet_v3(96), tmp_path / "net.onnx").read_bytes()
    state = tmp_path / "state"
    with web_server({"/net.onnx": content}) as site:
        words = ("model", "fetch", "mine", "--url", site.url("/net.onnx"))
        done = run_incv3d(state, *words, "--preset", "timm-inception")
    assert done.returncode == 0, done.stderr
    shown = " ".join(run_incv3d(state, "model", "show", "mine").stdout.split())
    assert "resized to 109 on the shorter side" in shown and "0 to 255 become -1 to 1 (custom.preset" in shown
    done = run_incv3d(state, "model", "fetch", "birds", "--preset", "timm")
    assert done.returncode and "`birds` is a known model; omit --preset" in done.stderr


def test_a_preset_and_a_known_model_exclude_each_other(tmp_path: Path) -> None:
    file = save(colours(), tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="--preset timm: excludes --like inception-v3"):
        import_model(ModelStore(tmp_path), file, like="inception-v3", preset="timm")


def test_the_numbers_of_a_preset_are_in_the_order_of_the_channels() -> None:
    section = CustomSection(file="x", preset="torchvision", channel_order="bgr")
    assert section.mean_and_std == ((0.406, 0.456, 0.485), (0.225, 0.224, 0.229))


@pytest.mark.parametrize(
    ("custom", "complaint"),
    [
        ({"preset": "torchvison"}, "custom.preset: must be none, torchvision, .*did you mean `torchvision`"),
        ({"preset": "torchvision", "mean": [104, 117, 124]}, "mean"),
        ({"preset": "torchvision", "resize_to": 256, "crop_fraction": 0.9}, "resize_to: "),
        ({"preset": "torchvision", "resize_to": 256, "fit": "stretch"}, "resize_to: "),
    ],
)
def test_contradictions_are_one_clear_line(tmp_path: Path, custom: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        configured(tmp_path, tmp_path / "net.onnx", **custom)


def test_without_a_preset_a_network_that_was_imported_by_an_older_version_is_not_imported_again() -> None:
    """The settings are part of the fingerprint, in the form in which older versions wrote them."""

    class Older(msgspec.Struct, kw_only=True):
        file: str
        labels: str = ""
        input: str = ""
        output: str = ""
        signature: str = ""
        width: int = 0
        height: int = 0
        layout: str = "auto"
        pixel_range: tuple[float, float] | None = None
        mean: Any = None
        std: Any = None
        channel_order: str = "rgb"
        fit: str = "stretch"
        crop_fraction: float = 1.0
        resize_to: int = 0
        interpolation: str = "auto"
        scores: str = "auto"
        golden_picture: str = ""
        golden_label: str = ""
        golden_score: float | None = None
        golden_tolerance: float = 0.02

    for given in ({}, {"fit": "crop", "crop_fraction": 0.875}, {"mean": 127.5, "std": (1.0, 2.0, 3.0)}):
        older = msgspec.json.encode(Older(file="/srv/net.pb", **given))
        assert _settings(CustomSection(file="/srv/net.pb", **given)) == older
    assert MAKER_VERSION == 1
