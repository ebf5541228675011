"""Clips of events: from real films and JPEGs, as they were encoded."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import pytest

from incv3d.client import Client
from incv3d.clips.recorder import SILENT_S, ClipRecorder
from incv3d.clock import timestamp_ms
from incv3d.config.clips import ClipsSection
from incv3d.config.source import SourceSection
from incv3d.frames import EncodedPacket, Frame
from incv3d.images.demo import demo_folder
from incv3d.protocol.events import EventMessage
from incv3d.sources.factory import source_opener
from live_h264 import KEY_EVERY_S, RATE, encode
from processes import ScriptedDaemon
from streams import film as make_film
from waiting import until

NOON = 1_796_126_400.0
JPEG = (demo_folder() / "cat.jpg").read_bytes()


def entered(label: str = "fox", source: str = "camera", score: float = 0.89) -> EventMessage:
    at = timestamp_ms(NOON)
    return EventMessage(
        v=1, event="entered", source=source, label=label, synset="", score=score, at=at, frames=3
    )


def frame(at: float) -> Frame:
    return Frame("camera", b"", None, received=at, captured=at)


@dataclass
class Film:
    """A film that is read as fast as possible; its packets arrive when they would be shown."""

    path: Path
    packets: list[EncodedPacket] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Film:
        film = cls(path)
        section = SourceSection(type="video", path=str(path), every_frame=True, loop=False)
        opener = source_opener(section, lambda name, packet: film.packets.append(packet))
        assert opener
        source = opener()
        while source.capture(0.0):
            pass
        source.close()
        film.packets = [replace(each, at=number / RATE) for number, each in enumerate(film.packets)]
        return film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """16 seconds of H.264 with B-frames."""
    path = tmp_path_factory.mktemp("film") / "film.ts"
    path.write_bytes(b"".join(encode(b_frames=2)))
    return Film.read(path)


@pytest.fixture
def recorders() -> Iterator[list[ClipRecorder]]:
    made: list[ClipRecorder] = []
    yield made
    for each in made:
        each.close(time.monotonic() + 10)


@pytest.fixture
def record(tmp_path: Path, recorders: list[ClipRecorder]):
    def make(folder: Path | None = None, **section: object) -> ClipRecorder:
        def died(thread: str, error: BaseException) -> None:
            raise AssertionError(thread) from error

        given = {"folder": str(folder or tmp_path / "clips"), "min_free_bytes": 0, **section}
        recorders.append(ClipRecorder(ClipsSection(**given), died))  # type: ignore[arg-type]
        return recorders[-1]

    return make


def play(recorder: ClipRecorder, packets: list[EncodedPacket], event_at: float, **event: str) -> None:
    told = False
    for packet in packets:
        recorder.record("camera", packet)
        if packet.at >= event_at and not told:
            told = True
            recorder.take_event(entered(**event), frame(packet.at))


def written(recorder: ClipRecorder, folder: Path, count: int = 1) -> list[Path]:
    until(lambda: recorder.status()["clips"]["saved"] >= count, "the clips")
    return sorted(folder.iterdir())


def contents(path: Path) -> tuple[list[bytes], list[float]]:
    with av.open(str(path)) as container:
        packets = [each for each in container.demux(video=0) if each.size]
        return [bytes(each) for each in packets], [float(each.pts * each.time_base) for each in packets]


def units(data: bytes) -> list[bytes]:
    """The NAL units of an H.264 packet, whether they begin with start codes or with their lengths."""
    if data.startswith((b"\0\0\0\1", b"\0\0\1")):
        return [each for each in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if each]
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def test_a_clip_of_a_film_begins_five_seconds_before_its_event_bit_for_bit(
    record, film: Film, tmp_path: Path
) -> None:
    recorder = record()
    play(recorder, film.packets, event_at=8.0)
    (path,) = written(recorder, tmp_path / "clips")
    assert path.name == "20261201T120000.000Z_camera_fox_0.89.mp4"
    packets, times = contents(path)
    originals = [units(each.data) for each in film.packets]
    begin = originals.index(units(packets[0]))
    assert abs(8.0 - film.packets[begin].at - 5.0) <= KEY_EVERY_S / 2 + 1 / RATE
    assert [units(each) for each in packets] == originals[begin : begin + len(packets)]
    last = film.packets[begin + len(packets) - 1].at
    assert 12.9 <= last <= 13.0
    assert max(times) - min(times) == pytest.approx(last - film.packets[begin].at, abs=0.1)
    with av.open(str(path)) as container:
        decoded = [each.to_ndarray(format="gray")[0, 0] for each in container.decode(video=0)]
    assert len(decoded) == len(packets)


def test_jpegs_become_a_clip_that_holds_them_unchanged(record, tmp_path: Path) -> None:
    recorder = record(before_s=1.0, after_s=1.0)
    images = [JPEG + bytes([number]) for number in range(60)]
    packets = [EncodedPacket(image, number / 10, is_key=True) for number, image in enumerate(images)]
    play(recorder, packets, event_at=3.0)
    (path,) = written(recorder, tmp_path / "clips")
    assert path.suffix == ".mkv"
    found, times = contents(path)
    assert found == images[20:41]
    assert times == pytest.approx([number / 10 for number in range(21)], abs=0.002)


def test_labels_that_enter_during_a_clip_prolong_it_up_to_its_longest(record, tmp_path: Path) -> None:
    recorder = record(before_s=1.0, after_s=1.0, max_s=4.0)
    for number in range(100):
        at = number / 10
        recorder.record("camera", EncodedPacket(JPEG, at, is_key=True))
        if number in (20, 28, 36, 44, 60):
            recorder.take_event(entered(f"label {number}"), frame(at))
    first, second = written(recorder, tmp_path / "clips", 2)
    assert "label-20" in first.name and "label-44" not in first.name
    assert contents(first)[1][-1] == pytest.approx(4.0, abs=0.2)
    assert "label-60" in second.name


def test_a_film_that_begins_again_is_one_clip_whose_times_go_on(record, film: Film, tmp_path: Path) -> None:
    again = [replace(each, at=each.at + 16.0) for each in Film.read(film.path).packets]
    recorder = record()
    play(recorder, film.packets + again, event_at=15.0)
    (path,) = written(recorder, tmp_path / "clips")
    _, times = contents(path)
    assert max(times) == pytest.approx(10.0, abs=1.0)


def test_a_source_that_falls_silent_still_has_its_clip(record, tmp_path: Path) -> None:
    recorder = record()
    now = time.monotonic()
    recorder.record("camera", EncodedPacket(JPEG, now, is_key=True))
    recorder.take_event(entered(), frame(now))
    recorder.look(now + 5.0, {})
    assert not (tmp_path / "clips").exists() or not list((tmp_path / "clips").iterdir())
    recorder.look(now + 5.1 + SILENT_S, {})
    assert written(recorder, tmp_path / "clips")


def test_the_end_of_the_daemon_ends_a_clip(record, tmp_path: Path) -> None:
    recorder = record()
    now = time.monotonic()
    recorder.record("camera", EncodedPacket(JPEG, now, is_key=True))
    recorder.take_event(entered(), frame(now))
    recorder.close(time.monotonic() + 10)
    assert len(list((tmp_path / "clips").iterdir())) == 1


def test_a_region_has_a_clip_of_its_camera_and_a_client_has_none(record, tmp_path: Path) -> None:
    recorder = record(before_s=0.0, after_s=0.0)
    packets = [EncodedPacket(JPEG, number / 10, is_key=True) for number in range(20)]
    play(recorder, packets, 1.0, source="camera.left")
    play(recorder, packets, 1.0, source="zmq")
    (path,) = written(recorder, tmp_path / "clips")
    assert "_camera.left_" in path.name
    assert recorder.status()["clips"]["dropped"] == 0


def test_a_full_disk_costs_clips_and_nothing_else(record, small_disk: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    recorder = record(small_disk)
    (small_disk / "filler").write_bytes(bytes(1024 * 1024 - 8192))
    now = time.monotonic()
    for number in range(3):
        for tenth in range(20):
            recorder.record("camera", EncodedPacket(JPEG, now + 10 * number + tenth / 10, is_key=True))
        recorder.take_event(entered(), frame(now + 10 * number + 1.9))
        recorder.look(now + 10 * number + 9.0, {})
        until(lambda n=number: recorder.status()["clips"]["failed"] == n + 1, "the failure")
    assert caplog.text.count("clips cannot be written (the disk is too full: ") == 1
    assert [each.name for each in small_disk.iterdir()] == ["filler"]
    recorder.close(time.monotonic() + 10)


def test_the_memory_of_a_ring_is_as_configured(record) -> None:
    recorder = record(ring_bytes=1024 * 1024)
    for number in range(100):
        recorder.record("camera", EncodedPacket(JPEG, number / 100, is_key=True))
    assert 0 < recorder.status()["clips"]["ring_bytes"] <= 1024 * 1024


def test_a_film_that_an_mp4_cannot_hold_is_played_without_clips(tmp_path: Path, caplog) -> None:
    path = make_film(tmp_path, codec="huffyuv")
    seen: list[EncodedPacket] = []
    section = SourceSection(type="video", path=str(path), every_frame=True, loop=False)
    opener = source_opener(section, lambda name, packet: seen.append(packet))
    assert opener
    source = opener()
    frames = 0
    while source.capture(0.0):
        frames += 1
    source.close()
    assert frames == 20 and seen == []
    assert caplog.text.count("an .mp4 cannot hold its video") == 1


def test_a_daemon_writes_clips_of_what_its_camera_encoded(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    originals = {path.read_bytes() for path in demo_folder().glob("*.jpg")}
    for number, jpeg in enumerate(sorted(originals)):
        (images / f"{number}.jpg").write_bytes(jpeg)
    sections = {
        "source": {"path": str(images), "fps": 20},
        "events": {"allow": ["*"], "threshold": 0.01, "frames": 1, "needed": 1},
        "clips": {"folder": str(tmp_path / "clips"), "before_s": 1, "after_s": 1, "min_free_bytes": 0},
    }
    (tmp_path / "incv3d.yaml").write_text(json.dumps(sections))
    daemon = ScriptedDaemon(tmp_path, tmp_path, str(tmp_path / "incv3d.yaml"), "5")
    try:
        daemon.wait_for(".mkv: written")
        with Client(daemon.door) as client:
            assert client.ask("stats")["clips"]["saved"] >= 1
        packets, times = contents(next((tmp_path / "clips").iterdir()))
        assert set(packets) <= originals and len(packets) >= 10
        assert times == sorted(times)
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_raw_pixels_are_not_recorded_and_jpegs_are(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "a.jpg").write_bytes(JPEG)
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    seen: list[EncodedPacket] = []
    section = SourceSection(type="images", path=str(tmp_path), fps=100, loop=False)
    opener = source_opener(section, lambda name, packet: seen.append(packet))
    assert opener
    source = opener()
    while source.capture(0.0):
        pass
    source.close()
    assert [each.data for each in seen] == [JPEG]
    assert io.BytesIO(seen[0].data).read(3) == b"\xff\xd8\xff"
