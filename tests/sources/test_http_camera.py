"""Cameras that send JPEGs over HTTP, read as a browser reads them: real servers on loopback."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from PIL import Image

from doubles import jpeg
from http_cameras import DECODER, ONE, frames, opened
from incv3d.config.source import SourceSection
from incv3d.sources import SourceAbsent, SourceError, source_opener
from incv3d.sources.http_camera import MjpegSource, SnapshotSource
from streams import HttpStream, needs_ffmpeg
from webcams import Request, chunked, compressed, parts, pictures

REPLACE = "multipart/x-mixed-replace"
STREAMS: dict[str, Callable[[Request], None]] = {
    "as it should be": parts(),
    "the first part without a boundary": parts(first_before=b""),
    "a boundary line without dashes": parts(before=b"frame\r\n"),
    "a boundary that is declared with its dashes": parts(kind=f"{REPLACE};boundary=--frame"),
    "a quoted boundary": parts(kind=f'{REPLACE}; boundary="frame"'),
    "another boundary than declared": parts(kind=f"{REPLACE}; boundary=other"),
    "no boundary declared": parts(kind=REPLACE),
    "image/jpg": parts(head=b"Content-Type: image/jpg\r\n\r\n"),
    "no Content-Type of parts": parts(head=b"\r\n"),
    "Content-Length too small": parts(head=b"Content-Type: image/jpeg\r\nContent-Length: 99\r\n\r\n"),
    "Content-Length too large": parts(head=b"Content-Type: image/jpeg\r\nContent-Length: 99999\r\n\r\n"),
    "Content-Length right": parts(head=b"Content-Length: %d\r\nContent-Type: image/jpeg\r\n\r\n"),
    "multipart/mixed": parts(kind="multipart/mixed;boundary=frame"),
    "another type of the whole": parts(kind="text/plain"),
    "no end markers": parts(cut=2),
    "no parts at all": parts(b"", b"", b"", kind="video/x-motion-jpeg"),
    "no parts, called a picture": parts(b"", b"", b"", kind="image/jpeg"),
    "chunked": chunked(parts()),
    "compressed without being asked": compressed(parts()),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_motion_jpeg_is_taken_as_browsers_take_it(serve, kind: str) -> None:
    got = frames(serve(STREAMS[kind]).url())
    sent = [each.removesuffix(b"\xff\xd9") for each in pictures()]
    numbers = [sent.index(bytes(frame.data).removesuffix(b"\xff\xd9")) for frame in got]
    assert numbers == sorted(set(numbers)), "newer ones only"
    assert all(a.captured < b.captured for a, b in pairwise(got))
    if kind != "no end markers":
        assert all(DECODER.decode(frame).std() > 10 for frame in got)


def test_ffmpegs_own_motion_jpeg_is_taken() -> None:
    server = HttpStream().start()
    try:
        got = frames(server.url, most=10)
        assert all(DECODER.decode(frame).std() > 10 for frame in got)
    finally:
        server.kill()


def test_a_reader_gets_the_newest_image_and_not_what_waited(serve) -> None:
    sent: list[float] = []

    def answer(request: Request) -> None:
        request.head(Content_Type=f"{REPLACE}; boundary=frame")
        for number in range(1000):
            request.send(b"--frame\r\n\r\n" + jpeg(200, 150, seed=number) + b"\r\n")
            sent.append(time.monotonic())
            if not request.pause(0.02):
                return

    with opened(serve(answer).url()) as source:
        assert source.capture(0.0)
        behind = len(sent)
        while len(sent) < behind + 50:  # a reader that is away meanwhile
            time.sleep(0.01)
        before = len(sent)
        newest = source.capture(0.0)
        assert newest and isinstance(newest.id, int) and newest.id >= before - 1, "what waited was handed out"


def test_a_frame_that_began_before_it_was_wanted_is_passed_over(serve) -> None:
    with opened(serve(parts()).url()) as source:
        wanted = time.monotonic() + 0.5
        frame = source.capture(wanted)
        assert frame and wanted <= frame.captured < wanted + 1.0


def test_a_stream_without_a_pause_still_gives_frames(serve) -> None:
    with opened(serve(parts(pause_s=0.0)).url()) as source:
        started = time.monotonic()
        assert all(source.capture(0.0) for _ in range(3))
        assert time.monotonic() - started < 3


def test_a_stream_that_ends_or_breaks_off_or_falls_silent_fails(serve) -> None:
    def two_and(then: Callable[[Request], None]) -> Callable[[Request], None]:
        def answer(request: Request) -> None:
            request.head(Content_Type=f"{REPLACE}; boundary=frame")
            request.send(b"--frame\r\n\r\n" + ONE + b"\r\n--frame\r\n\r\n" + ONE[:50])
            then(request)

        return answer

    for then, words in ((lambda request: None, "the stream ended"), (Request.wait, "no data in time")):
        url = serve(two_and(then)).url()
        with (
            opened(url, timeout_s=0.5) as source,
            pytest.raises(SourceError, match=rf"^http://127.*/video: {words}$"),
        ):
            while source.capture(0.0):
                pass


@pytest.mark.parametrize("answer", [parts(pause_s=60), lambda request: request.send_whole(ONE)])
def test_a_capture_that_waits_is_interrupted(serve, answer) -> None:
    with opened(serve(answer).url(), timeout_s=60, interval_s=60) as source:
        assert source.capture(0.0)
        threading.Timer(0.2, source.interrupt).start()
        started = time.monotonic()
        assert source.capture(0.0) is None
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.send_whole(ONE),
        lambda request: request.send_whole(ONE, "application/octet-stream"),
        lambda request: request.send_whole(ONE, "text/html"),
        chunked(lambda request: (request.head(Content_Type="image/jpeg"), request.send(ONE))),
        lambda request: (request.head(), request.send(ONE[:20]), request.pause(0.1), request.send(ONE[20:])),
        lambda request: (request.head(Content_Type="image/jpeg"), request.send(ONE[:-2])),
        compressed(lambda request: (request.head(Content_Type="image/jpeg"), request.send(ONE))),
        lambda request: (request.head(Content_Type=REPLACE), request.send(b"--f\r\n\r\n" + ONE + b"\r\n")),
    ],
    ids=["jpeg", "no type", "a wrong type", "chunked", "no length", "no end marker", "gzip", "one part"],
)
def test_an_address_that_gives_one_jpeg_is_asked_again_and_again(serve, answer) -> None:
    camera = serve(answer)
    got = frames(camera.url("/cgi-bin/snapshot.cgi?channel=1"))
    assert {bytes(frame.data) for frame in got} in ({ONE}, {ONE[:-2]})
    assert [path for path, _ in camera.asked] == ["/cgi-bin/snapshot.cgi?channel=1"] * 3
    assert all(a.captured < b.captured for a, b in pairwise(got))


def test_one_image_may_be_of_any_format_that_we_read(serve) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, "WEBP")
    (frame,) = frames(serve(lambda request: request.send_whole(out.getvalue(), "image/webp")).url(), most=1)
    assert DECODER.decode(frame)[0, 0].tolist() == pytest.approx([254, 0, 0], abs=3)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.send_whole(ONE),
        lambda request: request.send_whole(b"--f\r\n\r\n" + ONE + b"\r\n", f"{REPLACE}; boundary=f"),
    ],
    ids=["a picture", "a stream of one part"],
)
def test_it_is_asked_on_a_beat(serve, answer) -> None:
    got = frames(serve(answer).url(), most=4, interval_s=0.3)
    steps = [b.captured - a.captured for a, b in pairwise(got)]
    assert all(0.2 < step < 0.5 for step in steps), steps


@pytest.mark.parametrize(
    ("given", "interval_s"),
    [({}, 1.0), ({"interval_s": 5}, 0.0), ({"max_fps": 2}, 0.0), ({"fps": 4}, 0.25)],
)
def test_how_often_it_is_asked_is_what_the_configuration_says(serve, given, interval_s: float) -> None:
    url = serve(lambda request: request.send_whole(ONE)).url()
    opener = source_opener(SourceSection(type="video", path=url, **given))
    assert opener
    source = opener()
    assert isinstance(source, SnapshotSource) and source._interval_s == interval_s
    source.close()


def test_a_camera_that_answers_now_and_then_is_absent_meanwhile(serve) -> None:
    left = [200, 503, 200]

    def answer(request: Request) -> None:
        request.send_whole(ONE, status=left.pop(0))

    camera = serve(answer)
    with opened(camera.url()) as source:
        assert source.capture(0.0)
        with pytest.raises(SourceAbsent, match=r"the server answered 503 Service Unavailable$"):
            source.capture(0.0)
    assert frames(camera.url(), most=1)


def test_a_connection_that_is_kept_and_closed_by_the_camera_costs_no_image(serve) -> None:
    def answer(request: Request) -> None:
        request.protocol_version = "HTTP/1.1"
        request.send_whole(ONE)
        request.close_connection = True  # which it has not said

    assert frames(serve(answer).url(), most=5)


@pytest.fixture(scope="module")
def film() -> bytes:
    words = "-loglevel error -f lavfi -i testsrc=size=320x240:rate=10:duration=3 -c:v mpeg2video -f mpegts -"
    return subprocess.run([needs_ffmpeg(), *words.split()], check=True, capture_output=True).stdout


def send_film(request: Request, film: bytes, live: bool) -> None:
    if live:
        request.head(Content_Type="video/mp2t")
        request.send(film)
        request.wait()
    else:
        request.send_whole(film, "video/mp2t")


@pytest.mark.parametrize("live", [True, False])
def test_other_streams_over_http_are_for_ffmpeg(serve, film: bytes, live: bool) -> None:
    pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")
    camera = serve(partial(send_film, film=film, live=live))
    opener = source_opener(SourceSection(type="video", path=camera.url(), stall_timeout_s=5))
    assert opener
    source = opener()
    got = [source.capture(0.0) for _ in range(3)]
    assert all(frame and frame.encoding == "rgb24" and frame.width == 320 for frame in got)
    assert len(camera.asked) == 1 or not live, "a server may have room for one"
    with pytest.raises(SourceError, match=r"^http://127.*(no data in time|the stream ended)"):
        while source.capture(0.0):
            pass
    source.close()


def test_no_library_is_needed_for_jpegs_and_the_missing_one_is_named_for_others(
    serve, film: bytes, monkeypatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find_spec(name))
    opener = source_opener(SourceSection(type="video", path=serve(parts()).url()))
    assert opener
    source = opener()
    assert isinstance(source, MjpegSource) and source.capture(0.0)
    source.close()
    url = serve(partial(send_film, film=film, live=True)).url()
    opener = source_opener(SourceSection(type="video", path=url))
    assert opener
    with pytest.raises(SourceError, match="library av is missing"):
        opener()
