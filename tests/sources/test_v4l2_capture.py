"""Choosing a V4L2 device and its size; capturing is tested on a virtual camera, in a virtual machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.sources import SourceAbsent, SourceError

pytest.importorskip("linuxpy", reason="needs linuxpy: pip install 'incv3d[camera]'")

from linuxpy.video import raw
from linuxpy.video.device import BufferFlag, Format, PixelFormat
from linuxpy.video.device import Frame as V4l2Frame

from incv3d.sources.v4l2_capture import (
    FORMATS,
    V4l2Source,
    choose_size,
    content_of,
    find_device,
    stable_names,
    time_of,
    video_devices,
)
from incv3d.sources.v4l2_colours import colours_of

WEBCAM = [(160, 120), (320, 240), (640, 480), (800, 600), (1280, 720), (1920, 1080)]


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    for name in ("video10", "video2", "video0", "videodev", "vbi0"):
        (tmp_path / name).touch()
    links = tmp_path / "v4l/by-id"
    links.mkdir(parents=True)
    (links / "usb-046d_HD_Webcam_C270-video-index0").symlink_to(tmp_path / "video2")
    return tmp_path


def test_devices_are_in_the_order_of_their_numbers(dev: Path) -> None:
    assert [path.name for path in video_devices(dev)] == ["video0", "video2", "video10"]


def test_a_camera_goes_by_its_name_in_by_id(dev: Path) -> None:
    cameras = {dev / "video2": "C270", dev / "video0": "C920"}
    names = stable_names(cameras, dev)
    assert names[dev / "video2"] == dev / "v4l/by-id/usb-046d_HD_Webcam_C270-video-index0"
    assert names[dev / "video0"] == dev / "video0", "it has none"
    assert stable_names(cameras, dev / "nowhere") == {path: path for path in cameras}


def test_cameras_of_one_model_that_share_a_name_go_by_their_ports(dev: Path) -> None:
    ports = dev / "v4l/by-path"
    ports.mkdir()
    for name, device in {
        "pci-usb-0:1:1.0-video-index0": "video2",
        "pci-usbv2-0:1:1.0-video-index0": "video2",
        "pci-usb-0:2:1.0-video-index0": "video10",
    }.items():
        (ports / name).symlink_to(dev / device)
    assert stable_names({dev / "video2": "C270", dev / "video10": "C270"}, dev) == {
        dev / "video2": ports / "pci-usb-0:1:1.0-video-index0",
        dev / "video10": ports / "pci-usb-0:2:1.0-video-index0",
    }


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ((640, 480), (640, 480)),
        ((600, 450), (640, 480)),
        ((640, 481), (800, 600)),
        ((4000, 3000), (1920, 1080)),
        ((1, 1), (160, 120)),
    ],
)
def test_the_smallest_size_that_covers_what_is_wanted_is_chosen(wanted, chosen) -> None:
    assert choose_size(WEBCAM, wanted) == chosen


def test_a_driver_without_a_list_of_sizes_is_asked_for_what_is_wanted() -> None:
    assert choose_size([], (640, 480)) == (640, 480)


def test_what_is_not_there_or_no_camera_is_said(dev: Path) -> None:
    with pytest.raises(SourceAbsent, match="no such device"):
        find_device(str(dev / "video7"), dev)
    with pytest.raises(SourceError, match="not a device"):
        find_device(str(dev / "video0"), dev)
    with pytest.raises(SourceAbsent, match=r"no camera in .*/video\*$"):
        find_device("", dev)  # files, none of which answers as a camera does
    with pytest.raises(SourceError, match="/dev/null: Inappropriate ioctl") as caught:
        V4l2Source("c", find_device("/dev/null"), (640, 480), 0.0, {})
    assert not isinstance(caught.value, SourceAbsent)


def test_a_device_that_is_gone_between_two_looks_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SourceAbsent, match="the device is gone"):
        V4l2Source("c", tmp_path / "video0", (640, 480), 0.0, {})


def taken(
    pixel_format: PixelFormat, data: bytes, flags: int = 0, stride: int = 0, at: float = 0.0
) -> V4l2Frame:
    """A frame of 4 x 2 pixels as linuxpy hands it over, over the kernel's own structure."""
    buffer = raw.v4l2_buffer()
    buffer.bytesused = len(data)
    buffer.flags = flags
    buffer.sequence = 7
    buffer.timestamp.secs, buffer.timestamp.usecs = int(at), round(at % 1 * 1e6)
    return V4l2Frame(data, buffer, Format(4, 2, pixel_format, len(data), stride))


@pytest.mark.parametrize(
    ("pixel_format", "row", "stride", "expected"),
    [
        (PixelFormat.GREY, b"abcd", 4, ("gray8", b"abcd" * 2)),
        (PixelFormat.GREY, b"abcd....", 8, ("gray8", b"abcd" * 2)),
        (PixelFormat.RGB24, b"rgb" * 4, 0, ("rgb24", b"rgb" * 8)),
        (PixelFormat.BGR24, b"bgr" * 4, 12, ("bgr24", b"bgr" * 8)),
        (PixelFormat.YUYV, b"YUYVYUYV", 8, ("yuyv", b"YUYVYUYV" * 2)),
        (PixelFormat.YUYV, b"YUYVYUYV..", 10, ("yuyv", b"YUYVYUYV" * 2)),
    ],
)
def test_raw_frames_become_pixels_without_padding(pixel_format, row, stride, expected) -> None:
    assert content_of(taken(pixel_format, row * 2, stride=stride)) == expected


@pytest.mark.parametrize(
    ("pixel_format", "encoding"),
    [
        (PixelFormat.YUYV, "yuyv"),
        (PixelFormat.UYVY, "uyvy"),
        (PixelFormat.YVYU, "yvyu"),
        (PixelFormat.VYUY, "vyuy"),
        (PixelFormat.NV12, "nv12"),
        (PixelFormat.NV21, "nv21"),
        (PixelFormat.YUV420, "yu12"),
        (PixelFormat.YVU420, "yv12"),
    ],
)
def test_yuv_is_handed_on_as_it_comes_and_converted_by_the_decoder(pixel_format, encoding) -> None:
    """White above black, as the kernel's documentation lays out each format; a driver pads its buffer."""
    if encoding in ("yuyv", "yvyu"):
        data = bytes([235, 128] * 4) + bytes([16, 128] * 4)
    elif encoding in ("uyvy", "vyuy"):
        data = bytes([128, 235] * 4) + bytes([128, 16] * 4)
    else:
        data = bytes([235] * 4 + [16] * 4 + [128] * 4)
    content = content_of(taken(pixel_format, data + b"padding"))
    assert content == (encoding, data)
    frame = Frame("c", data, encoding, received=0.0, captured=0.0, width=4, height=2)
    decoder = Preprocessor(InputSpec(24, 24, 0.0, 1.0, "stretch", 1.0, "bilinear"), 1_000_000)
    assert decoder.decode(frame).tolist() == [[[255] * 3] * 4, [[0] * 3] * 4]
    assert pixel_format in FORMATS


@pytest.mark.parametrize(
    ("colorspace", "encoding", "quantization", "colours"),
    [
        (0, 0, 0, "bt601"),
        (8, 0, 0, "bt601"),  # sRGB, which webcams say
        (1, 0, 0, "bt601"),
        (3, 0, 0, "bt709"),
        (7, 0, 0, "bt601-full"),  # JPEG
        (8, 2, 0, "bt709"),
        (8, 1, 1, "bt601-full"),
        (7, 0, 2, "bt601"),
        (10, 0, 0, "bt2020"),
        (99, 99, 99, "bt601"),
    ],
)
def test_what_the_driver_says_of_its_colours_counts(colorspace, encoding, quantization, colours) -> None:
    assert colours_of(colorspace, encoding, quantization) == colours


def test_a_jpeg_stays_one_and_needs_no_huffman_tables() -> None:
    picture = jpeg(64, 48)
    assert content_of(taken(PixelFormat.MJPEG, picture)) == ("jpeg", picture)
    # Webcams leave out the tables that every decoder of Motion JPEG knows (DHT, marker FF C4).
    at, bare = 2, picture[:2]
    while picture[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(picture[at + 2 : at + 4], "big")
        bare += b"" if picture[at + 1] == 0xC4 else picture[at:end]
        at = end
    bare += picture[at:]
    assert len(bare) < len(picture) - 400
    decoder = Preprocessor(InputSpec(24, 24, 0.0, 1.0, "stretch", 1.0, "bilinear"), 1_000_000)
    whole, mended = (
        decoder.decode(Frame("c", data, "jpeg", received=0.0, captured=0.0)) for data in (picture, bare)
    )
    assert (whole == mended).all()


@pytest.mark.parametrize(
    "frame",
    [
        taken(PixelFormat.MJPEG, jpeg(), flags=BufferFlag.ERROR),
        taken(PixelFormat.MJPEG, b""),
        taken(PixelFormat.YUYV, b"12345678" * 2, stride=16),
        taken(PixelFormat.GREY, b"1234567"),
        taken(PixelFormat.NV12, b"12345678901"),
        taken(PixelFormat.YUV420, b"1234..5678..12.3", stride=6),
    ],
)
def test_a_damaged_or_cut_off_frame_has_no_content(frame: V4l2Frame) -> None:
    assert content_of(frame) is None


def test_the_drivers_time_counts_if_it_is_of_the_monotonic_clock() -> None:
    monotonic = BufferFlag.TIMESTAMP_MONOTONIC | BufferFlag.TSTAMP_SRC_SOE
    assert time_of(taken(PixelFormat.GREY, b"", monotonic, at=99.25), 100.0) == 99.25
    assert time_of(taken(PixelFormat.GREY, b"", monotonic, at=101.5), 100.0) == 100.0
    assert time_of(taken(PixelFormat.GREY, b"", BufferFlag.TIMESTAMP_COPY, at=99.25), 100.0) == 100.0
