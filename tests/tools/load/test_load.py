"""The load generator: what is under way when, from when round trips count, and that nothing hangs it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import repeat
from pathlib import Path

import pytest

from fake_server import Request, ScriptedPeer, label, refusal, silent
from incv3d.client import ClientError, NoAnswer
from incv3d.tools.load.report import LoadStatistics, describe, milliseconds
from incv3d.tools.load.sender import LoadImage, Plan, SendResult
from incv3d.tools.load.zeromq import ZmqLoadSender

JPEG = b"\xff\xd8\xff" + bytes(10)
SHOT = LoadImage("cat.jpg", JPEG)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/door"


def shoot(address: str, shots, **plan) -> list[SendResult]:
    with ZmqLoadSender(address, Plan(**plan)) as generator:
        generator.connect()
        return list(generator.send_all(shots))


def kinds(outcomes: list[SendResult]) -> Counter[str]:
    return Counter(outcome.kind for outcome in outcomes)


def test_every_image_has_its_outcome(address: str) -> None:
    with ScriptedPeer(address) as peer:
        outcomes = shoot(address, [LoadImage(str(n), JPEG) for n in range(20)], limit=3)
    assert sorted(outcome.name for outcome in outcomes) == sorted(map(str, range(20)))
    assert kinds(outcomes) == {"ok": 20} and all(outcome.round_trip_ms > 0 for outcome in outcomes)
    assert {request["data"] for request in peer.requests} == {JPEG}


def test_a_closed_loop_keeps_the_requested_number_in_flight(address: str) -> None:
    held: list[Request] = []
    together: list[int] = []

    def answer_three_at_once(number: int, request: Request) -> list[Request]:
        held.append(request)
        together.append(len(held))
        if len(held) < 3:
            return []
        answers = [reply for each in held for reply in label(number, each)]
        held.clear()
        return answers

    with ScriptedPeer(address, answer_three_at_once):
        assert kinds(shoot(address, repeat(SHOT, 12), limit=3)) == {"ok": 12}
    assert max(together) == 3


def test_each_connection_is_a_separate_sender_with_its_share(address: str) -> None:
    for plan in ({"limit": 4}, {"limit": 100, "rate": 2000.0}):
        with ScriptedPeer(address) as peer:
            shoot(address, repeat(SHOT, 40), connections=4, **plan)
        shares = Counter(request["peer"] for request in peer.requests)
        assert len(shares) == 4 and min(shares.values()) >= 3, shares


def test_pixels_are_sent_with_their_size(address: str) -> None:
    with ScriptedPeer(address) as peer:
        shoot(address, [LoadImage("raw", bytes(12), "bgr24", 2, 2)], ttl_ms=50.0)
    sent = peer.requests[0]
    assert (sent["encoding"], sent["width"], sent["height"], sent["ttl_ms"]) == ("bgr24", 2, 2, 50)


def test_an_open_loop_counts_from_when_an_image_was_due(address: str) -> None:
    with ScriptedPeer(address), ZmqLoadSender(address, Plan(limit=100, rate=100)) as generator:
        generator.connect()
        outcomes = []
        for outcome in generator.send_all(repeat(SHOT, 30)):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                # Whatever holds the sender up: the shots that were due meanwhile have waited.
                time.sleep(0.2)
    assert kinds(outcomes) == {"ok": 30}
    waited = [outcome.round_trip_ms for outcome in outcomes if outcome.round_trip_ms > 20]
    assert len(waited) >= 10 and max(waited) > 150


def test_slots_with_too_many_in_flight_are_lost_and_counted(address: str) -> None:
    with ScriptedPeer(address, silent) as peer:
        outcomes = shoot(address, repeat(SHOT, 10), limit=2, rate=1000.0, timeout_s=0.3)
    assert kinds(outcomes) == {"not_sent": 8, "no_answer": 2}
    assert len(peer.requests) == 2


def test_a_schedule_is_kept_without_answers(address: str) -> None:
    with ScriptedPeer(address, silent) as peer:
        shoot(address, repeat(SHOT), limit=1000, rate=200.0, duration_s=0.25, timeout_s=0.1)
    assert 45 <= len(peer.requests) <= 50


def test_a_duration_ends_a_run_that_has_more_images(address: str) -> None:
    started = time.monotonic()
    with ScriptedPeer(address):
        outcomes = shoot(address, repeat(SHOT), duration_s=0.2, timeout_s=60)
    assert outcomes and kinds(outcomes).keys() == {"ok"}
    assert time.monotonic() - started < 30, "it waited for timeouts of answered shots"


def test_unanswered_images_are_sent_again_with_the_same_id(address: str) -> None:
    def third_time(number: int, request: Request) -> list[Request]:
        return label(number, request) if number == 2 else []

    with ScriptedPeer(address, third_time) as peer:
        assert kinds(shoot(address, [SHOT], timeout_s=0.1, retries=2)) == {"ok": 1}
        assert kinds(shoot(address, [SHOT], timeout_s=0.1, retries=1)) == {"no_answer": 1}
    assert [request["id"] for request in peer.requests] == [1, 1, 1, 1, 1]


def test_busy_is_an_outcome_or_waited_for(address: str) -> None:
    def busy_twice(number: int, request: Request) -> list[Request]:
        return label(number, request) if number % 3 == 2 else [refusal(request, "busy", retry_ms=10)]

    with ScriptedPeer(address, busy_twice) as peer:
        assert kinds(shoot(address, repeat(SHOT, 3))) == {"busy": 2, "ok": 1}
        assert kinds(shoot(address, repeat(SHOT, 2), wait_if_busy=True)) == {"ok": 2}
    assert len(peer.requests) == 9


def test_a_broken_connection_ends_its_images_in_flight_at_once(address: str) -> None:
    peer = ScriptedPeer(address, silent)

    def leave() -> None:
        for _ in range(4):
            peer.wait_for_request()
        peer.close()

    leaver = threading.Thread(target=leave)
    leaver.start()
    started = time.monotonic()
    outcomes = shoot(address, repeat(SHOT, 4), connections=2, limit=4, timeout_s=60)
    leaver.join()
    assert kinds(outcomes) == {"no_answer": 4}
    assert time.monotonic() - started < 30


def test_a_missing_daemon_is_reported_before_sending(address: str) -> None:
    with pytest.raises(NoAnswer, match="is incv3d running"):
        shoot(address, [SHOT], timeout_s=0.1)


def test_another_programs_answer_is_an_error(address: str) -> None:
    def garbage(number: int, request: Request) -> list[Request]:
        return [{"peer": request["peer"], "raw": b"pong"}]

    with ScriptedPeer(address, garbage), pytest.raises(ClientError, match="unknown format"):
        shoot(address, [SHOT])


def outcome(round_trip_ms: float, kind: str = "ok") -> SendResult:
    return SendResult("x", None, round_trip_ms, lost_slot=kind == "not_sent")


@pytest.mark.parametrize(
    ("samples", "shown"),
    [
        (1, ["p50_ms"]),
        (9, ["p50_ms"]),
        (10, ["p50_ms", "p90_ms"]),
        (100, ["p50_ms", "p90_ms", "p95_ms", "p99_ms"]),
        (1000, ["p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms"]),
    ],
)
def test_a_percentile_is_shown_when_a_sample_lies_beyond_it(samples: int, shown: list[str]) -> None:
    values = [float(n) for n in range(1, samples + 1)]
    found = milliseconds(values)
    assert found and list(found) == ["best_ms", "avg_ms", *shown, "worst_ms"]
    assert (found["best_ms"], found["worst_ms"]) == (1.0, float(samples))
    assert found["p50_ms"] == found["avg_ms"] == (samples + 1) / 2


def test_a_report_describes_every_outcome(address: str) -> None:
    def script(number: int, request: Request) -> list[Request]:
        return label(number, request) if number else [refusal(request, "busy")]

    tally = LoadStatistics()
    with ScriptedPeer(address, script):
        for each in shoot(address, repeat(SHOT, 3)):
            tally.add(each)
    for each in (outcome(5.0), outcome(0.0, "not_sent")):
        tally.add(each)
    report = tally.report(elapsed_s=2.0, unfinished=1)
    assert (report.sent, report.ok_per_s, report.lost_slots, report.unfinished) == (5, 1.0, 1, 1)
    assert {kind: found.count for kind, found in report.outcomes.items()} == {
        "busy": 1,
        "no_answer": 1,
        "ok": 2,
    }
    assert report.daemon["run"]["p50_ms"] == 2.0
    assert report.beyond_run and report.outcomes["ok"].round_trip
    difference = report.outcomes["ok"].round_trip["avg_ms"] - report.beyond_run["avg_ms"]
    assert difference == pytest.approx(3.0, abs=0.002)
    text = "\n".join(describe(report))
    assert "5 images in 2.0 s, 1.0 labels per second" in text and "not sent: 1" in text
    assert not tally.all_ok


def test_only_labels_for_all_are_a_success() -> None:
    assert not LoadStatistics().all_ok
    tally = LoadStatistics()
    tally.add(outcome(1.0))
    assert not tally.all_ok, "an unanswered shot passed for a label"


def test_what_a_stopping_daemon_refused_is_sent_again_if_wanted(address: str) -> None:
    def stopping_first(number: int, request: Request) -> list[Request]:
        return [refusal(request, "shutting_down")] if number == 0 else label(number, request)

    for retries, kind in ((1, "ok"), (0, "shutting_down")):
        with ScriptedPeer(address, stopping_first):
            assert kinds(shoot(address, [SHOT], retries=retries)) == {kind: 1}
