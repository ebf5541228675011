"""Runs and decoders that fail, hang or die: every request has its answer, and the daemon its exit status."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest
import zmq

from daemon_requests import (
    CAT,
    STATS,
    ask,
    header,
    stats,
)
from waiting import until


@pytest.mark.parametrize("part", ["run", "decode"])
def test_what_fails_costs_its_own_frame_alone(scripted, connect, part: str) -> None:
    door = connect(zmq.DEALER, scripted().door)
    assert ask(door, header(id=f"fail-{part}"), CAT)["code"] == "internal"
    assert ask(door, header(id="good"), CAT)["status"] == "ok"


def test_a_session_that_always_fails_ends_the_daemon_for_its_supervisor(scripted, connect) -> None:
    daemon = scripted()
    door = connect(zmq.DEALER, daemon.door)
    for number in range(1, 6):
        assert ask(door, header(id="fail-run"), CAT)["code"] == "internal"
        if number == 3:
            assert "failed 3 times in a row" in ask(door, STATS)["health"]
    assert daemon.wait() == 1
    assert sum("the Session failed 5 times in a row" in line for line in daemon.said) == 1, daemon.said


@pytest.mark.parametrize(
    ("id", "status", "words"),
    [
        ("hang-run", 70, "running the Session takes longer than 1 s"),
        ("hang-decode", 70, "decoding a frame takes longer than 1 s"),
        ("die-decode", 1, "the decode thread died: SystemExit()"),
    ],
)
def test_a_thread_that_hangs_or_dies_ends_the_daemon_and_everybody_has_an_answer(
    scripted, connect, id: str, status: int, words: str
) -> None:
    daemon = scripted("session: {run_limit_s: 1}")
    door = connect(zmq.DEALER, daemon.door)
    for each in ("before", id, "behind 1", "behind 2", "behind 3"):
        door.send_multipart([header(id=each), CAT])
    answers = [json.loads(door.recv()) for _ in range(5)]
    assert Counter(answer["id"] for answer in answers) == Counter(
        ["before", id, "behind 1", "behind 2", "behind 3"]
    )
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[id]["code"] == "internal" and words in by_id[id]["detail"]
    assert {answer.get("code", "ok") for answer in answers} <= {"ok", "busy", "internal", "shutting_down"}
    assert daemon.wait() == status
    assert sum(words in line for line in daemon.said) == 1, daemon.said


def test_health_says_that_something_takes_long_before_the_daemon_gives_up(scripted, connect) -> None:
    daemon = scripted("session: {run_limit_s: 2}")
    door = connect(zmq.DEALER, daemon.door)
    door.send_multipart([header(id="hang-run"), CAT])
    told = "running the Session has taken"
    until(lambda: stats(daemon)["health"].startswith(told), "health says what takes long")
    assert json.loads(door.recv())["code"] == "internal"
    assert daemon.wait() == 70


def test_ctrl_c_answers_what_is_in_flight_and_a_second_one_waits_for_nothing(scripted, connect) -> None:
    daemon = scripted("session: {run_limit_s: 600}\ndaemon: {grace_s: 600}")
    door = connect(zmq.DEALER, daemon.door)
    door.send_multipart([header(id="hang-run"), CAT])
    daemon.wait_for("scripted: it hangs")
    daemon.signal(signal.SIGINT)
    until(lambda: stats(daemon)["state"] == "stopping", "it stops")
    assert daemon.process.poll() is None, "what is in flight is waited for"
    daemon.signal(signal.SIGINT)
    daemon.wait_for("SIGINT again: leaving at once")
    told = time.monotonic()
    assert json.loads(door.recv())["code"] == "shutting_down"
    assert daemon.wait() == 0
    assert time.monotonic() - told < 30
