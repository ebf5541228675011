"""A frame as a picture with its labels, read back by another library."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from doubles import jpeg
from incv3d.events.labelled_image import ImageFile, ImageToSave, rendered, stem, with_exif
from incv3d.frames import CHANNELS, Encoding, Frame, Prediction, Region

NOON = 1_767_268_800.25
PANDA = Prediction(388, "n02510455", "giant panda", 0.8910713)
LESSER = Prediction(387, "n02509815", "lesser panda", 0.0079)


def shot(
    data: bytes, encoding: Encoding | None = None, label: Prediction = PANDA, **size: int
) -> ImageToSave:
    frame = Frame("camera", data, encoding, 0.0, 0.0, **size)
    return ImageToSave(frame, NOON, "entered", (label,), (label, LESSER), "inception-v3")


def opened(kept: ImageFile) -> Image.Image:
    return Image.open(io.BytesIO(kept.data))


def facts(kept: ImageFile) -> dict[str, object]:
    comment = opened(kept).getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(b"ASCII\x00\x00\x00")
    return json.loads(comment[8:])


def with_camera_exif(data: bytes, **tags: object) -> bytes:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Acme"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:02:02 02:02:02"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    Image.open(io.BytesIO(data)).save(out, "JPEG", quality="keep", exif=exif)
    return out.getvalue()


def scan(data: bytes) -> bytes:
    """Everything of a JPEG but its application segments."""
    rest, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if data[at + 1] & 0xF0 != 0xE0:
            rest += data[at:end]
        at = end
    return rest + data[at:]


def test_names_tell_when_where_what_and_how_sure_and_sort_by_time() -> None:
    assert stem(shot(b"")) == "20260101T120000.250Z_camera_giant-panda_0.89"
    odd = Prediction(0, "", "../Grünfink / d'été\n_x_", 1.0)
    assert stem(shot(b"", label=odd)) == "20260101T120000.250Z_camera_Grünfink-d-été-x_1.00"
    assert stem(shot(b"", label=Prediction(0, "", "///", 0.004))).endswith("_camera_label_0.00")
    assert len(stem(shot(b"", label=Prediction(0, "", "蜘" * 500, 0.5))).encode()) < 120


def test_a_jpeg_has_its_labels_in_exif_and_its_pixels_are_untouched_to_the_bit() -> None:
    data = jpeg(64, 48)
    kept = rendered(shot(data))
    assert (kept.suffix, kept.metadata) == (".jpg", b"")
    assert np.array_equal(np.asarray(opened(kept)), np.asarray(Image.open(io.BytesIO(data))))
    assert scan(kept.data) == scan(data), "more than the application segments was changed"
    exif = opened(kept).getexif()
    assert exif[ExifTags.Base.ImageDescription] == "giant panda 0.89 (camera, 2026-01-01T12:00:00.250Z)"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:01 12:00:00"
    assert details[ExifTags.Base.SubsecTimeOriginal] == "250"
    assert details[ExifTags.Base.OffsetTimeOriginal] == "+00:00"
    assert facts(kept) == {
        "v": 1,
        "source": "camera",
        "at": "2026-01-01T12:00:00.250Z",
        "why": "entered",
        "model": "inception-v3",
        "labels": [{"index": 388, "synset": "n02510455", "label": "giant panda", "score": 0.8910713}],
        "predictions": [
            {"index": 388, "synset": "n02510455", "label": "giant panda", "score": 0.8910713},
            {"index": 387, "synset": "n02509815", "label": "lesser panda", "score": 0.0079},
        ],
    }


def test_the_region_that_was_classified_is_written_down_and_the_image_stays_whole() -> None:
    data = jpeg(64, 48)
    part = shot(data)
    part = replace(part, frame=replace(part.frame, source="camera.feeder", region=Region(0.5, 0, 0.25, 1)))
    kept = rendered(part)
    assert opened(kept).size == (64, 48) and scan(kept.data) == scan(data)
    assert facts(kept)["source"] == "camera.feeder"
    assert facts(kept)["region"] == {"x": 0.5, "y": 0, "width": 0.25, "height": 1}


@pytest.mark.parametrize("own", [None, 1, 3, 6])
@pytest.mark.parametrize("transform", ["none", "hflip", "vflip", "rotate90", "rotate180", "rotate270"])
def test_a_image_that_is_turned_before_it_is_classified_is_shown_upright(own, transform) -> None:
    data = jpeg(64, 48)
    if own:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = own
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).save(out, "JPEG", quality="keep", exif=exif)
        data = out.getvalue()
    turned = shot(data)
    turned = replace(turned, frame=replace(turned.frame, transform=transform))
    shown = np.asarray(ImageOps.exif_transpose(opened(rendered(turned))))
    before = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    how = {
        "hflip": Image.Transpose.FLIP_LEFT_RIGHT,
        "vflip": Image.Transpose.FLIP_TOP_BOTTOM,
        "rotate90": Image.Transpose.ROTATE_270,  # Pillow counts counterclockwise
        "rotate180": Image.Transpose.ROTATE_180,
        "rotate270": Image.Transpose.ROTATE_90,
    }
    assert before
    expected = before.transpose(how[transform]) if transform != "none" else before
    assert np.array_equal(shown, np.asarray(expected))


def test_jfif_stays_the_first_segment_and_exif_is_the_next() -> None:
    kept = rendered(shot(jpeg()))
    assert kept.data[2:4] == b"\xff\xe0" and kept.data[6:10] == b"JFIF"
    second = 4 + struct.unpack_from(">H", kept.data, 4)[0]
    assert kept.data[second : second + 2] == b"\xff\xe1"
    assert kept.data[second + 4 : second + 10] == b"Exif\x00\x00"


def test_what_the_camera_wrote_into_exif_is_kept() -> None:
    data = with_camera_exif(jpeg())
    kept = rendered(shot(data))
    exif = opened(kept).getexif()
    assert exif[ExifTags.Base.Orientation] == 6 and exif[ExifTags.Base.Make] == "Acme"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.DateTimeOriginal] == "2020:02:02 02:02:02"
    assert ExifTags.Base.SubsecTimeOriginal not in details, "milliseconds of another clock"
    assert kept.data.count(b"Exif\x00\x00") == 1 and facts(kept)["model"] == "inception-v3"
    assert scan(kept.data) == scan(data)


def test_a_image_that_is_labelled_again_has_the_newer_labels_alone() -> None:
    once = rendered(shot(jpeg()))
    twice = rendered(shot(once.data, label=LESSER))
    assert opened(twice).getexif()[ExifTags.Base.ImageDescription].startswith("lesser panda 0.01")
    assert twice.data.count(b"Exif\x00\x00") == 1


def test_names_beyond_ascii_are_written_as_they_are() -> None:
    kept = rendered(shot(jpeg(), label=Prediction(0, "", "Grünfink", 0.5)))
    assert "Grünfink 0.50".encode() in kept.data
    assert facts(kept)["labels"] == [{"index": 0, "synset": "", "label": "Grünfink", "score": 0.5}]


@pytest.mark.parametrize(("encoding", "channels"), CHANNELS.items())
def test_raw_pixels_become_a_jpeg_of_the_same_image(encoding: Encoding, channels: int) -> None:
    gradient = np.linspace(0, 255, 64 * 48 * channels).astype(np.uint8).reshape(48, 64, channels)
    gradient[:, :, 0] = 200
    kept = rendered(shot(memoryview(gradient.tobytes()), encoding, width=64, height=48))
    assert kept.suffix == ".jpg" and facts(kept)["source"] == "camera"
    colours = gradient[:, :, :3]
    seen = np.asarray(opened(kept)).reshape(colours.shape).astype(int)
    expected = colours[:, :, ::-1] if encoding in ("bgr24", "bgra") else colours
    assert np.abs(seen - expected).mean() < 6


@pytest.mark.parametrize(("format_", "suffix"), [("PNG", ".png"), ("WEBP", ".webp"), ("BMP", ".bmp")])
def test_other_formats_are_kept_as_they_came_with_json_beside(format_, suffix) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(jpeg())).save(out, format_)
    kept = rendered(shot(out.getvalue()))
    assert (kept.suffix, kept.data) == (suffix, out.getvalue())
    assert json.loads(kept.metadata)["labels"][0]["label"] == "giant panda"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"Exif\x00\x00MM\x00*", b"Exif\x00\x00XX\x00*"),
        lambda data: data[:2] + b"\xff\xe1\x00\x01" + data[2:],
        lambda data: data[:20] + b"junk" + data[20:],
        lambda data: data[:6],
    ],
)
def test_a_jpeg_whose_segments_or_exif_are_damaged_is_kept_as_it_came_with_json_beside(damage) -> None:
    data = damage(with_camera_exif(jpeg()))
    assert data != with_camera_exif(jpeg())
    kept = rendered(shot(data))
    assert (kept.suffix, kept.data) == (".jpg", data)
    assert json.loads(kept.metadata)["labels"][0]["label"] == "giant panda"


def test_more_than_a_segment_holds_is_written_beside_it() -> None:
    assert with_exif(jpeg(), "x", "y" * 70_000, NOON) is None


@given(st.binary(max_size=400), st.integers(0, 399))
def test_no_bytes_make_it_fail(garbage: bytes, at: int) -> None:
    data = with_camera_exif(jpeg(8, 8))
    for each in (b"\xff\xd8\xff" + garbage, data[:at] + garbage[:20] + data[at + 20 :]):
        labelled = with_exif(each, "x", "y", NOON)
        assert labelled is None or b"ASCII\x00\x00\x00y" in labelled
