"""Films as phones, time-lapse cameras and broken recorders make them: upright, and played to their end."""

from __future__ import annotations

import io
import queue
import subprocess
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec, turn_upright
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, SourceError, SourceSupervisor
from streams import needs_ffmpeg

av = pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")

from incv3d.sources.ffmpeg import orientation_of  # noqa: E402
from incv3d.sources.video_capture import FileSource, usual_step_s  # noqa: E402

SIZE = (640, 480)
DECODER = Preprocessor(InputSpec(224, 224, 0.0, 1.0, "stretch", 1.0, "bilinear"), 50_000_000)
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""By the EXIF orientation that does the same: a, b, c and d of ISO/IEC 14496-12 (x' = a x + c y)."""


def corners() -> np.ndarray:
    """A picture whose quarters are red, green, blue and white."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48, 0] = picture[:32, 48:, 1] = picture[32:, :48, 2] = 255
    picture[32:, 48:] = 255
    return picture


def film(path: Path, times_ms: list[int], picture: np.ndarray | None = None) -> Path:
    """A film whose frames are to be shown at `times_ms`."""
    picture = corners() if picture is None else picture
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=1000)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for at_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """The film at `path` with another display matrix in its track header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the matrix in version 0 of the box
    a, b, c, d = (each << 16 for each in matrix)
    for number, value in enumerate((a, b, 0, c, d, 0, 0, 0, 1 << 30)):
        content[at + 4 * number : at + 4 * number + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


def play(path: Path, loop: bool = False, paced: bool = True, size: tuple[int, int] = SIZE) -> FileSource:
    return FileSource("film", str(path), size, 0.0, loop, paced)


def frames(source: FileSource, most: int = 100) -> list[Frame]:
    got: list[Frame] = []
    while len(got) < most and (frame := source.capture(0.0)):
        got.append(frame)
    source.close()
    return got


@pytest.mark.parametrize("orientation", MATRICES)
def test_the_display_matrix_of_a_video_counts_as_exif_does(tmp_path: Path, orientation: int) -> None:
    (frame,) = frames(play(turned(film(tmp_path / "film.mp4", [0]), MATRICES[orientation])))
    expected = turn_upright(corners(), orientation)
    assert (frame.height, frame.width) == expected.shape[:2] and frame.transform == "none"
    seen = np.frombuffer(frame.data, np.uint8).reshape(expected.shape)
    assert np.abs(seen.astype(int) - expected)[8::16, 8::16].max() < 40, "a lossy codec, far from the edges"


def test_a_turned_video_still_covers_the_size_that_is_wanted(tmp_path: Path) -> None:
    path = turned(film(tmp_path / "film.mp4", [0], np.zeros((600, 800, 3), np.uint8)), MATRICES[6])
    (frame,) = frames(play(path, size=(300, 200)))
    assert (frame.width, frame.height) == (300, 400)


def test_a_matrix_that_is_a_little_crooked_or_empty_is_taken_to_the_next_quarter_turn() -> None:
    def packed(*numbers: int) -> bytes:
        a, b, c, d = numbers
        return np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], "<i4").tobytes()

    assert orientation_of(packed(3000, 65_000, -65_000, 3000)) == 6
    assert orientation_of(packed(0, 0, 0, 0)) == 1


def test_exif_in_a_video_of_jpegs_counts_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.fromarray(corners()).save(out, "JPEG", exif=exif)
    path = tmp_path / "film.mjpeg"
    path.write_bytes(out.getvalue() * 2)
    for frame in frames(play(path, paced=False)):
        seen = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3)
        assert seen.shape == (96, 64, 3)
        assert seen[8, 8].tolist() == pytest.approx([0, 0, 255], abs=40)


def test_phones_hold_their_videos_upright_by_a_matrix(shared: Path) -> None:
    pictures = [
        DECODER.decode(frames(play(shared / "cases/films" / name, paced=False))[0])
        for name in ("phone-upright.mp4", "plain.mp4")
    ]
    assert pictures[0].shape == pictures[1].shape
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 3, "compressed twice"


def test_a_video_with_long_pauses_is_played_to_its_end_without_a_stall(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", [0, 600, 1200])
    frame_queue = FrameQueue(1, 1, 1, lambda frame: False)
    ended: queue.SimpleQueue[object] = queue.SimpleQueue()
    capture = SourceSupervisor(
        "film",
        lambda: play(path),
        frame_queue,
        CaptureSchedule(stall_timeout_s=0.2),
        lambda: None,
        on_end=ended.put,
        on_death=lambda *death: ended.put(death),
    )
    started = time.monotonic()
    capture.start()
    assert ended.get(timeout=20) == "film"
    assert time.monotonic() - started > 1.1
    status = capture.status()
    assert (status.frames, status.recoveries, status.state) == (3, 0, "ended")


def test_a_video_with_long_pauses_begins_again_and_can_be_stopped(tmp_path: Path) -> None:
    source = play(film(tmp_path / "film.mkv", [0, 200, 400]), loop=True)
    captured = [frame.captured for frame in frames(source, most=5)]
    steps = [b - a for a, b in pairwise(captured)]
    assert all(0.15 < step < 0.4 for step in steps), steps
    source = play(film(tmp_path / "slow.mkv", [0, 50_000]))
    assert source.capture(0.0)
    source.interrupt()
    assert source.capture(0.0) is None
    source.close()


@pytest.mark.parametrize(
    "times_ms",
    [
        [0, 100, 200, 7_200_000, 7_200_100],
        [3_600_000, 3_600_100, 3_600_200, 3_600_300, 3_600_400],
    ],
    ids=["jumps ahead", "begins late"],
)
def test_a_video_whose_clock_jumps_is_played_on_at_its_pace(tmp_path: Path, times_ms: list[int]) -> None:
    source = play(film(tmp_path / "film.mkv", times_ms))
    captured = [frame.captured for frame in frames(source)]
    assert len(captured) >= 4
    steps = [b - a for a, b in pairwise(captured)]
    assert all(step < 0.5 for step in steps), steps


def test_a_video_whose_clock_runs_backwards_is_played_on_at_its_pace(tmp_path: Path) -> None:
    """Two recordings in one file, as recorders that append make them."""
    parts = [film(tmp_path / f"{start}.ts", [start, start + 100, start + 200]) for start in (90_000, 0)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    captured = [frame.captured for frame in frames(play(both))]
    assert len(captured) >= 5
    assert captured[-1] - captured[0] < 2


def test_a_rate_that_cannot_be_is_not_believed() -> None:
    assert usual_step_s(None) == usual_step_s(Fraction(0)) == usual_step_s(Fraction(90_000)) == 1 / 25
    assert usual_step_s(Fraction(1, 15)) == 15
    assert usual_step_s(Fraction(1, 86_400)) == 60


def test_the_cover_of_a_sound_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp3"
    words = "-loglevel error -f lavfi -i sine=duration=1 -f lavfi -i testsrc=size=64x64:rate=1:duration=1 "
    words += "-map 0 -map 1 -c:v mjpeg -disposition:v attached_pic"
    subprocess.run([needs_ffmpeg(), *words.split(), str(path)], check=True)
    with pytest.raises(SourceError, match="it contains no video"):
        play(path)


@pytest.mark.parametrize(
    ("codec", "pixels", "size"),
    [("ffv1", "yuv420p10le", (320, 240)), ("ffv1", "yuv444p", (321, 241)), ("ffv1", "gray16le", (33, 17))],
)
def test_deep_and_odd_videos_become_frames(tmp_path: Path, codec: str, pixels: str, size) -> None:
    path = tmp_path / "film.mkv"
    width, height = size
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        grey = np.full((height, width, 3), 128, np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(stream.encode(None))
    (frame,) = frames(play(path))
    assert (frame.width, frame.height) == size
    assert np.abs(DECODER.decode(frame).astype(int) - 128).max() <= 3
