"""From the configuration to a source, and what is said when its library or its device is not there."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from doubles import jpeg
from incv3d.config.address import Address
from incv3d.config.source import SourceSection
from incv3d.frames import Frame
from incv3d.sources import LibraryMissing, SourceAbsent, factory, source_opener
from incv3d.sources.base import SourceMisnamed
from incv3d.sources.images import ImagesSource


def hide(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    """Make `libraries` look as if they were not installed."""
    for library in libraries:
        for name in [name for name in sys.modules if name.split(".")[0] == library]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "incv3d.sources.v4l2_capture", raising=False)
    hidden = set(libraries)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name in hidden:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def find_spec(name: str, package: str | None = None) -> object:
        return None if name in hidden else object()

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])


def test_without_a_source_nothing_is_opened() -> None:
    assert source_opener(SourceSection()) is None


def test_the_configured_source_is_opened_when_it_is_asked_for(tmp_path: Path) -> None:
    opener = source_opener(SourceSection(type="images", path=str(tmp_path)))
    assert opener
    with pytest.raises(SourceAbsent, match="no images found"):
        opener()
    (tmp_path / "a.jpg").write_bytes(jpeg())
    assert isinstance(opener(), ImagesSource)


@pytest.mark.parametrize("transform", ["none", "hflip", "vflip", "rotate90", "rotate180", "rotate270"])
def test_what_the_camera_cannot_turn_is_left_to_the_decoder(tmp_path: Path, transform) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    opener = source_opener(SourceSection(type="images", path=str(tmp_path), transform=transform))
    assert opener
    source = opener()
    frame = source.capture(0.0)
    assert frame and frame.transform == transform and source.lost_frames == 0
    source.interrupt()
    assert source.capture(0.0) is None
    source.close()


@pytest.mark.parametrize("kind", ["picamera2", "picamera"])
@pytest.mark.parametrize(
    ("transform", "left"), [("none", "none"), ("hflip", "none"), ("rotate180", "none"), ("rotate90",) * 2]
)
def test_what_a_pi_camera_turned_itself_is_not_turned_again(monkeypatch, kind, transform, left) -> None:
    asked: list[str] = []

    class Camera:
        lost_frames = 3

        def capture(self, after: float) -> Frame:
            return Frame("camera", b"", None, 0.0, after)

    def open_it(section: SourceSection) -> Camera:
        asked.append(section.transform)
        return Camera()

    backend = replace(
        factory.backend_of(kind), opener=lambda section: partial(open_it, section), library=None
    )
    monkeypatch.setattr(factory, "backend_of", lambda kind: backend)
    opener = source_opener(SourceSection(type=kind, transform=transform))
    assert opener
    source = opener()
    frame = source.capture(0.0)
    assert frame and frame.transform == left and source.lost_frames == 3 and asked == [transform]


@pytest.mark.parametrize(
    ("kind", "library", "advice"),
    [
        ("picamera2", "picamera2", r"apt-get install python3-picamera2 .*--system-site-packages"),
        ("picamera", "picamera", "apt-get install python3-picamera "),
        ("v4l2", "linuxpy", "-m pip install linuxpy"),
        ("video", "av", "-m pip install av"),
    ],
)
def test_a_missing_library_is_named_with_what_to_type(monkeypatch, kind, library, advice) -> None:
    hide(monkeypatch, library)
    with pytest.raises(LibraryMissing, match=rf"library {library} is missing; to install it: .*{advice}"):
        source_opener(SourceSection(type=kind, path="" if "picamera" in kind else "x"))


def test_a_library_that_cannot_be_loaded_is_said_with_its_reason(monkeypatch, tmp_path) -> None:
    """As NumPy says it when a package was compiled for its first version and meets its second."""
    words = "numpy.dtype size changed, may indicate binary incompatibility."
    (tmp_path / "picamera2.py").write_text(f"raise ValueError({words!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "libcamera", MagicMock(name="libcamera"))
    for name in [name for name in sys.modules if name.split(".")[0] == "picamera2"]:
        monkeypatch.delitem(sys.modules, name)
    opener = source_opener(SourceSection(type="picamera2"))
    assert opener
    with pytest.raises(LibraryMissing, match=r"size changed.*numpy<2"):
        opener()


def test_auto_says_of_each_kind_why_it_is_not_there(monkeypatch) -> None:
    hide(monkeypatch, "picamera2", "picamera", "linuxpy")
    opener = source_opener(SourceSection(type="auto"))
    assert opener
    with pytest.raises(SourceAbsent) as caught:
        opener()
    said = str(caught.value)
    assert said.startswith("no camera found, only frames sent by clients are classified (picamera2: ")
    assert "; picamera: " in said and "; v4l2: " in said and "\n" not in said


def test_a_path_that_will_not_come_by_itself_is_refused_at_the_start(tmp_path: Path) -> None:
    for path in ("gone", "gone/*.jpg", "gone.mp4"):
        kind = "video" if path.endswith("mp4") else "images"
        with pytest.raises(SourceMisnamed, match=r"gone.*: no such file or folder"):
            source_opener(SourceSection(type=kind, path=Address(str(tmp_path / path))))


def test_what_may_be_plugged_in_later_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("/media/usb/pictures", "/mnt/nas/*.jpg", f"{tmp_path}/empty/*.jpg", f"{tmp_path}/empty"):
        assert source_opener(SourceSection(type="images", path=Address(path)))
    for path in ("/dev/video99", "/dev/v4l/by-id/none"):
        assert source_opener(SourceSection(type="v4l2", path=Address(path)))
    assert source_opener(SourceSection(type="video", path=Address("rtsp://127.0.0.1:9/x")))


def test_keys_that_a_type_does_not_use_are_named_in_the_log(tmp_path: Path, caplog) -> None:
    section = SourceSection(
        type="images", path=str(tmp_path), rtsp_transport="udp", controls={"iso": 1}, fps=2
    )
    factory.check_source(section)
    assert caplog.messages == ["source: type images does not use controls, rtsp_transport"]
    factory.check_source(SourceSection(type="v4l2", controls={"brightness": 1}, fps=2, every_frame=True))
    assert len(caplog.messages) == 1


def test_the_number_of_a_device_is_its_path() -> None:
    assert SourceSection(type="v4l2", path="0").path == Address("/dev/video0")
    assert SourceSection(type="v4l2", path="/dev/v4l/by-id/x").path == Address("/dev/v4l/by-id/x")
