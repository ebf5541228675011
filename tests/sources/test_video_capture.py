"""Files and network streams through FFmpeg: real files, and real servers on loopback."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from incv3d.config.source_types import RtspTransport
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.sources import FrameSource, SourceAbsent, SourceError
from streams import H264, MJPEG, HttpStream, RtspStream, film, needs_ffmpeg

av = pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")

from incv3d.sources.ffmpeg import covering  # noqa: E402
from incv3d.sources.video_capture import FileSource, StreamSource, open_video  # noqa: E402

SIZE = (640, 480)
DECODER = Preprocessor(InputSpec(224, 224, 0.0, 1.0, "stretch", 1.0, "bilinear"), 50_000_000)


@pytest.fixture
def keep() -> Iterator[Callable[[FrameSource], FrameSource]]:
    kept: list[FrameSource] = []

    def add(source: FrameSource) -> FrameSource:
        kept.append(source)
        return source

    yield add
    for source in kept:
        source.close()


def play(path: object, **how: object) -> FileSource:
    source = open_video(
        "c", str(path), SIZE, **{"fps": 0, "loop": False, "every_frame": True, "timeout_s": 5, **how}
    )
    assert isinstance(source, FileSource)
    return source


def frames(source: FrameSource, most: int = 1000) -> list[Frame]:
    got: list[Frame] = []
    while len(got) < most and (frame := source.capture(0.0)):
        got.append(frame)
    return got


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg"])
def test_a_video_gives_each_of_its_frames_once(tmp_path: Path, keep, codec: str) -> None:
    got = frames(keep(play(film(tmp_path, codec=codec))))
    assert len(got) == 20, "the decoder held frames back"
    assert len({frame.id for frame in got}) == 20
    assert {(frame.encoding, frame.width, frame.height) for frame in got} == {("rgb24", 320, 240)}
    assert all(DECODER.decode(frame).std() > 10 for frame in got)


def test_a_video_plays_at_its_own_rate_or_at_another(tmp_path: Path, keep) -> None:
    path = film(tmp_path, seconds=1)
    started = time.monotonic()
    assert len(frames(keep(play(path, every_frame=False)))) == 10
    assert time.monotonic() - started >= 0.9
    started = time.monotonic()
    assert len(frames(keep(play(path, every_frame=False, fps=20)))) == 10
    assert time.monotonic() - started >= 0.45


def test_a_video_begins_again(tmp_path: Path, keep) -> None:
    got = frames(keep(play(film(tmp_path, seconds=1), loop=True)), most=25)
    assert [frame.id for frame in got[:10]] == [frame.id for frame in got[10:20]]
    first, again = (np.asarray(DECODER.decode(got[n])) for n in (0, 10))
    assert np.array_equal(first, again)


def test_a_video_goes_on_while_nobody_wants_a_frame(tmp_path: Path, keep) -> None:
    source = keep(play(film(tmp_path, seconds=1), every_frame=False, loop=True))
    first = source.capture(0.0)
    wanted = time.monotonic() + 1.25
    later = source.capture(wanted)
    assert first and later and later.captured >= wanted
    assert later.id in (200, 300), "three tenths of a second into the second round"


def test_a_cut_off_video_gives_what_it_has(tmp_path: Path, keep) -> None:
    path = film(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(frames(keep(play(path)))) < 20


def damaged_film(folder: Path, *which: int) -> tuple[Path, Path]:
    """A film of 20 frames, each tenth of which is a key frame, and a copy in which some are damaged."""
    whole, damaged = folder / "whole.h264", folder / "damaged.h264"
    options = "-x264-params keyint=10:scenecut=0:bframes=0:slices=1:sliced-threads=0"
    words = f"-loglevel error -y -f lavfi -i testsrc=size=320x240:rate=10:duration=2 -c:v libx264 {options}"
    subprocess.run([needs_ffmpeg(), *words.split(), str(whole)], check=True)
    data = bytearray(whole.read_bytes())
    slices = [found.end() for found in re.finditer(rb"\x00\x00\x01[\x41\x61\x65]", data)]
    assert len(slices) == 20
    for number in which:
        data[slices[number] + 8 : slices[number] + 40] = bytes(range(100, 132))
    damaged.write_bytes(data)
    return whole, damaged


def test_a_damaged_frame_and_those_that_build_on_it_are_left_out(tmp_path: Path, keep) -> None:
    whole, damaged = (frames(keep(play(path))) for path in damaged_film(tmp_path, 3))
    assert len(whole) == 20
    assert [frame.data for frame in damaged] == [frame.data for frame in (*whole[:3], *whole[10:])]


def test_a_video_of_which_every_key_frame_is_damaged_is_an_error(tmp_path: Path, keep) -> None:
    source = keep(play(damaged_film(tmp_path, 0, 10)[1], loop=False))
    with pytest.raises(SourceError, match="none of its frames can be decoded"):
        source.capture(0.0)
    assert source.lost_frames == 20


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, SourceAbsent, "no such file"),
        (b"", SourceError, "Invalid data"),
        (b"no film at all" * 1000, SourceError, "Invalid data"),
    ],
)
def test_what_is_no_video_is_said_in_one_line(tmp_path: Path, content, error, words) -> None:
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=f"film.mp4: {words}") as caught:
        play(path)
    assert "\n" not in str(caught.value)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
    with pytest.raises(SourceError, match="it contains no video"):
        play(path)


@pytest.fixture(params=["http", "rtsp-h264", "rtsp-mjpeg"])
def stream(request: pytest.FixtureRequest) -> Iterator[HttpStream | RtspStream]:
    server: HttpStream | RtspStream
    if request.param == "http":
        server = HttpStream()
    else:
        server = RtspStream(H264 if request.param == "rtsp-h264" else MJPEG)
    server.start()
    yield server
    server.kill()


def watch(url: str, timeout_s: float = 5.0, rtsp_transport: RtspTransport = "auto") -> StreamSource:
    source = open_video("c", url, SIZE, 0, True, False, timeout_s, rtsp_transport)
    assert isinstance(source, StreamSource)
    return source


def test_a_stream_gives_images_that_can_be_decoded(stream, keep) -> None:
    got = frames(keep(watch(stream.url)), most=10)
    assert len(got) == 10 and all(a.captured < b.captured for a, b in pairwise(got))
    for frame in got:
        assert DECODER.decode(frame).std() > 10
    if got[0].encoding == "rgb24":
        assert (got[0].width, got[0].height) == (854, 480), "1280 x 720, reduced to cover 640 x 480"
    else:
        assert got[0].encoding == "jpeg", "Motion JPEG stays encoded"


def test_an_idle_reader_gets_a_frame_that_was_taken_after_it_was_wanted(stream, keep) -> None:
    source = keep(watch(stream.url))
    assert source.capture(0.0)
    wanted = time.monotonic() + 2.0
    frame = source.capture(wanted)
    assert frame and wanted <= frame.captured < wanted + 1.0


def test_a_reader_that_was_away_gets_no_old_frames_for_long(stream, keep) -> None:
    """Packets that waited in the sockets are skipped, so that the frames are current again."""
    source = keep(watch(stream.url))
    before = source.capture(0.0)
    time.sleep(3.0)  # a decoder that is too slow, for all that the stream knows
    started = time.monotonic()
    waits: list[float] = []
    while time.monotonic() - started < 3.0:
        asked = time.monotonic()
        assert source.capture(0.0)
        waits.append(time.monotonic() - asked)
    assert before and max(waits[-5:]) > 0.01, "it still reads a backlog"


def test_a_stream_whose_server_dies_fails(stream, keep) -> None:
    source = keep(watch(stream.url))
    assert source.capture(0.0)
    stream.kill()
    with pytest.raises(SourceError, match=r"127\.0\.0\.1") as caught:
        frames(source)
    assert "\n" not in str(caught.value)


def test_a_stream_that_falls_silent_fails_in_time(keep) -> None:
    server = HttpStream().start()
    try:
        source = keep(watch(server.url, timeout_s=1.0))
        assert source.capture(0.0)
        server.freeze()
        with pytest.raises(SourceError, match="no data in time"):
            frames(source)
    finally:
        server.kill()


@pytest.fixture
def serve_rtsp() -> Iterator[Callable[..., RtspStream]]:
    servers: list[RtspStream] = []

    def serve(*how: str) -> RtspStream:
        servers.append(RtspStream(*how).start())
        return servers[-1]

    yield serve
    for server in servers:
        server.kill()


@pytest.mark.parametrize("transport", ["auto", "udp"])
@pytest.mark.parametrize("launch", [H264, MJPEG], ids=["h264", "mjpeg"])
def test_a_camera_that_refuses_tcp_is_asked_over_udp(keep, serve_rtsp, launch: str, transport) -> None:
    got = frames(keep(watch(serve_rtsp(launch, "UDP").url, rtsp_transport=transport)), most=3)
    assert len(got) == 3 and all(DECODER.decode(frame).std() > 10 for frame in got)


@pytest.mark.parametrize(("speaks", "asked"), [("UDP", "tcp"), ("TCP", "udp")])
def test_a_transport_that_the_camera_refuses_is_said(serve_rtsp, speaks: str, asked) -> None:
    words = rf"127\.0\.0\.1.*refuses {asked.upper()}.*source\.rtsp_transport"
    with pytest.raises(SourceError, match=words) as caught:
        watch(serve_rtsp(H264, speaks).url, rtsp_transport=asked)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_absent() -> None:
    with pytest.raises(SourceAbsent, match="Connection refused"):
        watch("rtsp://127.0.0.1:9/stream")


def test_a_password_is_not_shown() -> None:
    with pytest.raises(SourceAbsent) as caught:
        watch("rtsp://viewer:secret@127.0.0.1:9/stream")
    assert "secret" not in str(caught.value)


def test_images_are_reduced_in_their_own_proportions_and_never_enlarged() -> None:
    assert covering((1920, 1080), SIZE) == (854, 480)
    assert covering((1080, 1920), SIZE) == (640, 1138)
    assert covering((320, 240), SIZE) == (320, 240)
    assert covering((5000, 10), SIZE) == (5000, 10)
