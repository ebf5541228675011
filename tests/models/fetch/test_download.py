"""One file from a web server: whole and checked, or one clear line; resumed where it broke off."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.models.fetch.download import Download, DownloadRequest, RetryPolicy, progress_lines
from incv3d.models.fetch.http_client import DownloadError, UnreachableError
from webserver import (
    Site,
    answer,
    chunked,
    chunked_broken,
    nonsense,
    serve,
    silence,
    web_server,
)

CONTENT = hashlib.shake_256(b"a model").digest(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryPolicy(connect_s=5, read_s=5, attempts=3, pause_s=0.01)


@pytest.fixture
def site() -> Iterator[Site]:
    with web_server({"/model.tgz": CONTENT}) as site:
        yield site


def download(
    folder: Path, url: str, policy: RetryPolicy = QUICK, room=lambda missing: None, **known
) -> Download:
    return Download(folder, "model", DownloadRequest(url, **known), policy, lambda have, total: None, room)


def test_a_file_is_downloaded_and_its_checksum_compared(site, tmp_path) -> None:
    got = download(tmp_path, site.url(), size_bytes=len(CONTENT), sha256=SHA256).run()
    assert got.read_bytes() == CONTENT and site.ranges() == [""]
    assert site.asked[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("step", [chunked, serve(with_length=False)])
def test_a_server_need_not_say_how_large_the_file_is(site, tmp_path, step) -> None:
    for known in ({}, {"size_bytes": len(CONTENT)}):
        site.steps = [step]
        got = download(tmp_path, site.url(), **known)
        assert got.run().read_bytes() == CONTENT
        got.discard()


def test_a_download_that_breaks_off_goes_on_from_there(site, tmp_path) -> None:
    site.steps = [serve(stop_after=100_000), serve(stop_after=100_000)]
    got = download(tmp_path, site.url(), size_bytes=len(CONTENT), sha256=SHA256).run()
    assert got.read_bytes() == CONTENT
    assert site.ranges() == ["", "bytes=100000-", "bytes=200000-"]


def test_a_later_download_goes_on_from_there_too(site, tmp_path) -> None:
    site.steps = [serve(stop_after=100_000), *[serve(stop_after=0)] * 2]
    with pytest.raises(
        DownloadError, match="was lost; 100000 of 300000 bytes are kept, and the next attempt resumes"
    ):
        download(tmp_path, site.url()).run()
    site.steps, site.asked = [], []
    room = []
    assert (
        download(tmp_path, site.url(), room=room.append, size_bytes=len(CONTENT)).run().read_bytes()
        == CONTENT
    )
    assert site.ranges() == ["bytes=100000-"] and room == [200_000]


@pytest.mark.parametrize("without", [{"ranges": False}, {"validators": False}])
def test_a_server_without_ranges_or_etags_sends_it_anew(site, tmp_path, without) -> None:
    site.steps = [serve(stop_after=100_000, **without), serve(**without)]
    assert download(tmp_path, site.url(), sha256=SHA256).run().read_bytes() == CONTENT


def test_a_file_that_was_changed_meanwhile_is_downloaded_anew(site, tmp_path) -> None:
    site.steps = [serve(stop_after=100_000), *[serve(stop_after=0)] * 2]
    with pytest.raises(DownloadError, match="are kept"):
        download(tmp_path, site.url()).run()
    site.files["/model.tgz"] = changed = CONTENT[::-1]
    assert download(tmp_path, site.url()).run().read_bytes() == changed
    # and so it is when the server sends the rest of the changed one all the same
    site.files["/model.tgz"] = CONTENT
    rest = {"Content-Range": "bytes 100000-299999/300000", "ETag": '"another"'}
    site.steps = [serve(stop_after=100_000), answer(206, CONTENT[100_000:], **rest)]
    download(tmp_path, site.url()).discard()
    assert download(tmp_path, site.url(), sha256=SHA256).run().read_bytes() == CONTENT
    assert site.ranges()[-2:] == ["bytes=100000-", ""]


@pytest.mark.parametrize(
    "wrong",
    [
        answer(206, CONTENT[5:], **{"Content-Range": "bytes 5-299999/300000"}),
        answer(206, CONTENT[100_000:], **{"Content-Range": "bytes 100000-299999/400000"}),
        answer(206, CONTENT[100_000:]),
        answer(416, **{"Content-Range": "bytes */300000"}),
    ],
)
def test_another_part_than_was_asked_for_is_not_put_together_with_the_first(site, tmp_path, wrong) -> None:
    site.steps = [serve(stop_after=100_000), wrong]
    assert download(tmp_path, site.url()).run().read_bytes() == CONTENT
    assert site.ranges() == ["", "bytes=100000-", ""]


def test_another_address_does_not_go_on_with_the_part_of_the_first(site, tmp_path) -> None:
    site.files["/mirror.tgz"] = CONTENT
    site.steps = [serve(stop_after=100_000), *[serve(stop_after=0)] * 2]
    with pytest.raises(DownloadError, match="are kept"):
        download(tmp_path, site.url()).run()
    site.asked = []
    assert download(tmp_path, site.url("/mirror.tgz")).run().read_bytes() == CONTENT
    assert site.ranges() == [""]


def test_what_came_is_damaged_is_removed_and_never_handed_out(site, tmp_path) -> None:
    site.files["/model.tgz"] = CONTENT[:-1] + b"?"
    for _ in range(2):
        with pytest.raises(DownloadError, match=f"instead of {SHA256}: damaged in transit"):
            download(tmp_path, site.url(), sha256=SHA256).run()
        assert list(tmp_path.iterdir()) == []


def test_a_resumed_download_is_checked_as_a_whole(site, tmp_path) -> None:
    site.steps = [serve(stop_after=100_000), *[serve(stop_after=0)] * 2]
    first = download(tmp_path, site.url(), sha256=SHA256)
    with pytest.raises(DownloadError, match="are kept"):
        first.run()
    first.part.write_bytes(b"?" + first.part.read_bytes()[1:])  # a card that forgets
    with pytest.raises(DownloadError, match="its SHA-256 is"):
        download(tmp_path, site.url(), sha256=SHA256).run()
    assert download(tmp_path, site.url(), sha256=SHA256).run().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("step", "known", "complaint"),
    [
        (
            serve(length=400_000),
            {"size_bytes": 300_000},
            "the file on the server has 400000 bytes instead of 300000",
        ),
        (serve(), {"size_bytes": 299_999}, "the file on the server has 300000 bytes instead of 299999"),
        (serve(with_length=False), {"size_bytes": 299_999}, "aborted after more than 299999 bytes"),
        (chunked, {"size_bytes": 100}, "aborted after more than 100 bytes"),
        (answer(200), {}, "0 bytes is not a plausible model size"),
        (serve(length=5 << 30), {}, "5368709120 bytes is not a plausible model size"),
        (answer(404), {}, "the server answered 404 Not Found"),
        (answer(403), {}, "the server answered 403 Forbidden"),
        (answer(418), {}, "the server answered 418"),
        (
            answer(200, b"<html>Log in", **{"Content-Type": "text/html; charset=x"}),
            {},
            "the server sent a web page instead",
        ),
    ],
)
def test_an_answer_that_will_not_change_is_final_at_once(site, tmp_path, step, known, complaint) -> None:
    site.steps = [step]
    with pytest.raises(DownloadError, match=complaint):
        download(tmp_path, site.url(), **known).run()
    assert len(site.asked) == 1 and not (tmp_path / "model.part").exists()


@pytest.mark.parametrize(
    ("step", "known", "complaint"),
    [
        (answer(500), {}, "the server answered 500 Internal Server Error; nothing came"),
        (answer(503), {}, "the server answered 503 Service Unavailable; nothing came"),
        (nonsense, {}, "; nothing came"),
        (serve(length=400_000), {}, "the connection was lost; 300000 of 400000 bytes are kept"),
        (chunked_broken, {}, "150000 bytes are kept"),
        (serve(with_length=False, stop_after=9), {"size_bytes": 300_000}, "was lost; 27 bytes are kept"),
        (serve(with_length=False, stop_after=0), {}, "was lost; nothing came"),
    ],
)
def test_a_failure_that_may_pass_is_tried_again_but_not_for_ever(
    site, tmp_path, step, known, complaint
) -> None:
    site.steps = [step] * 10
    with pytest.raises(DownloadError, match=complaint):
        download(tmp_path, site.url(), **known).run()
    assert len(site.asked) == 3
    site.steps = [step]
    assert download(tmp_path, site.url(), sha256=SHA256, **known).run().read_bytes() == CONTENT


def test_a_size_that_is_told_only_later_ends_the_download_too(site, tmp_path) -> None:
    site.steps = [serve(with_length=False, stop_after=100_000)]
    assert download(tmp_path, site.url(), size_bytes=len(CONTENT)).run().read_bytes() == CONTENT
    assert download(tmp_path, site.url(), size_bytes=len(CONTENT)).run().read_bytes() == CONTENT
    assert site.ranges() == ["", "bytes=100000-"]


def test_as_long_as_something_comes_it_is_not_given_up(site, tmp_path) -> None:
    site.files["/model.tgz"] = large = CONTENT * 4
    site.steps = [serve(stop_after=100_000)] * 11
    assert download(tmp_path, site.url()).run().read_bytes() == large


def test_a_server_without_a_limit_is_cut_off(site, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.models.fetch.download.LARGEST_BYTES", 250_000)
    site.steps = [chunked]
    with pytest.raises(DownloadError, match="aborted after more than 250000 bytes"):
        download(tmp_path, site.url()).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [silence, serve(stop_after=9, stall=True)])
def test_a_server_that_stalls_is_not_waited_for_for_ever(site, tmp_path, step) -> None:
    site.steps = [step] * 3
    with pytest.raises(DownloadError, match="no data arrived for too long"):
        download(tmp_path, site.url(), RetryPolicy(read_s=0.1, attempts=3, pause_s=0.01)).run()
    assert len(site.asked) == 3


def test_a_deadline_ends_it_and_what_came_is_kept(site, tmp_path) -> None:
    site.steps = [serve(stop_after=100_000, stall=True)] * 10
    policy = RetryPolicy(read_s=60, attempts=1000, deadline=time.monotonic() + 0.5)
    with pytest.raises(DownloadError, match="the time limit was reached; 100000 of 300000 bytes are kept"):
        download(tmp_path, site.url(), policy).run()
    assert time.monotonic() - policy.deadline < 5


def test_nobody_at_the_address_is_final_at_once(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(UnreachableError, match=r"no network: 127\.0\.0\.1: Connection refused"):
            download(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/x", RetryPolicy(pause_s=60)).run()


def test_room_is_asked_for_before_the_first_byte_is_written(site, tmp_path) -> None:
    def none(missing: int) -> None:
        raise OSError(f"no room for {missing}")

    for known, requests in (({"size_bytes": 300_000}, 0), ({}, 1)):
        site.asked = []
        with pytest.raises(OSError, match="no room for 300000"):
            download(tmp_path, site.url(), room=none, **known).run()
        assert len(site.asked) == requests and list(tmp_path.iterdir()) == []


def test_a_damaged_note_means_starting_anew(site, tmp_path) -> None:
    (tmp_path / "model.part").write_bytes(CONTENT[:5])
    (tmp_path / "model.json").write_bytes(b'{"url":')
    assert download(tmp_path, site.url(), sha256=SHA256).run().read_bytes() == CONTENT
    assert site.ranges() == [""]


def test_progress_on_no_terminal_is_a_line_every_tenth() -> None:
    lines: list[str] = []
    progress = progress_lines("it", lines.append)
    for have in range(0, 2_000_001, 1000):
        progress(have, 2_000_000)
    assert len(lines) == 11
    assert (lines[0], lines[5]) == ("fetching it: 0.0 of 2.0 MB", "fetching it: 1.0 of 2.0 MB")
