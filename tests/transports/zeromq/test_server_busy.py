"""A server whose queue is full: who is rejected, when, and who comes next."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
import zmq

from doubles import ScriptedSession, jpeg
from incv3d.frames import Refusal
from incv3d.transports.zeromq.retries import MOST_HELD_OF_ONE
from zeromq_server import SOON_MS, Door, ask, header, settle


def test_beyond_the_queue_limit_the_answer_is_busy_at_once_and_says_when_to_come_again(
    open_door, connect
) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session, queue_limit=4)
    dealer = connect(zmq.DEALER, door.section.bind)
    dealer.send_multipart([header(id=0), jpeg()])
    assert session.running.wait(10)
    # One runs, one is decoded, and one peer may fill half of the four places: the fifth is over.
    for number in range(1, 12):
        dealer.send_multipart([header(id=number), jpeg()])
    answers = [json.loads(dealer.recv()) for _ in range(8)]
    assert {answer["code"] for answer in answers} == {"busy"}
    assert all(answer["queue_depth"] == 2 and answer["retry_ms"] == 2 * 7 for answer in answers[1:])
    session.release(4)
    done = [json.loads(dealer.recv())["id"] for _ in range(4)]
    assert sorted(done + [answer["id"] for answer in answers]) == list(range(12))
    assert done == sorted(done), "first in, first out"
    assert door.refused == [Refusal.BUSY] * 8


@pytest.fixture
def full(open_door, connect) -> Callable[..., Door]:
    """Opens a door that has no room: its Session waits, and its one place is taken."""

    def make(pace_ms: float) -> Door:
        session = ScriptedSession(held=True)
        door = open_door(session, pace_ms=pace_ms, queue_limit=1)
        dealer = connect(zmq.DEALER, door.section.bind)
        dealer.send_multipart([header(id="runs"), jpeg()])
        assert session.running.wait(10)
        dealer.send_multipart([header(id="decoded"), jpeg()])
        settle(door, dealer)
        dealer.send_multipart([header(id="waits"), jpeg()])
        while not len(door.frame_queue):
            threading.Event().wait(0.001)
        return door

    return make


def test_a_peer_that_comes_sooner_than_it_was_told_has_its_refusal_when_the_time_is_over(
    full, connect
) -> None:
    door = full(pace_ms=400)
    loop = connect(zmq.REQ, door.section.bind)
    began = time.monotonic()
    assert ask(loop, jpeg())["retry_ms"] == 400
    assert time.monotonic() - began < 0.3, "the first refusal did not leave at once"
    for round in (1, 2):
        answer = ask(loop, jpeg())
        assert (answer["code"], answer["retry_ms"]) == ("busy", 400)
        assert time.monotonic() - began >= round * 0.4
    other = connect(zmq.REQ, door.section.bind)
    loop.send(jpeg())
    asked = time.monotonic()
    assert ask(other, jpeg())["code"] == "busy"
    assert time.monotonic() - asked < 0.3, "it waited for another one's time"
    assert json.loads(loop.recv())["code"] == "busy"
    assert door.refused == [Refusal.BUSY] * 5


def test_a_peer_that_comes_when_it_was_told_is_answered_at_once(full, connect) -> None:
    door = full(pace_ms=200)
    loop = connect(zmq.REQ, door.section.bind)
    for _ in range(3):
        asked = time.monotonic()
        retry_s = ask(loop, jpeg())["retry_ms"] / 1000
        assert time.monotonic() - asked < 0.15
        threading.Event().wait(retry_s)


def test_a_peer_that_comes_too_soon_gets_its_label_if_there_is_room(full, connect) -> None:
    door = full(pace_ms=20_000)
    loop = connect(zmq.REQ, door.section.bind)
    assert ask(loop, jpeg())["retry_ms"] == 20_000
    door.session.release(10)
    while len(door.frame_queue):
        threading.Event().wait(0.001)
    assert ask(loop, jpeg())["status"] == "ok"


def test_of_a_peer_that_does_not_wait_a_few_refusals_are_held_and_each_is_answered_once(
    full, connect
) -> None:
    door = full(pace_ms=1000)
    flood = connect(zmq.DEALER, door.section.bind)
    for number in range(100):
        flood.send_multipart([header(id=number), jpeg()])
    answers = [json.loads(flood.recv()) for _ in range(100)]
    assert {answer["code"] for answer in answers} == {"busy"}
    held = range(1, 1 + MOST_HELD_OF_ONE)
    at_once = [0, *range(1 + MOST_HELD_OF_ONE, 100)]
    assert [answer["id"] for answer in answers] == [*at_once, *held]


def test_the_more_peers_come_too_soon_the_later_each_is_told_to_come(full, connect) -> None:
    door = full(pace_ms=2000)
    loops = [connect(zmq.REQ, door.section.bind) for _ in range(4)]
    for number, loop in enumerate(loops):
        assert ask(loop, jpeg())["retry_ms"] == 2000 * (1 + number)
        loop.send(jpeg())
        while door.intake.status()["unanswered"] < 3 + number + 1:
            threading.Event().wait(0.001)


def test_loops_that_come_again_at_once_are_refused_about_as_often_as_there_is_a_label(
    open_door, connect
) -> None:
    def run(number: int) -> None:
        threading.Event().wait(0.01)

    door = open_door(ScriptedSession(script=run), pace_ms=10.0)
    loops = [connect(zmq.REQ, door.section.bind) for _ in range(24)]
    poller = zmq.Poller()
    for loop in loops:
        poller.register(loop, zmq.POLLIN)
        loop.send(jpeg())
    labels: Counter[zmq.Socket[bytes]] = Counter()
    while labels.total() < 240:
        for loop, _ in poller.poll(SOON_MS):
            labels[loop] += json.loads(loop.recv())["status"] == "ok"
            loop.send(jpeg())
    assert door.refused.count(Refusal.BUSY) < 3 * labels.total()
    assert all(labels[loop] >= 3 for loop in loops), "some are starved"


def test_held_refusals_are_answered_when_the_door_closes(full, connect) -> None:
    door = full(pace_ms=20_000)
    loops = [connect(zmq.REQ, door.section.bind) for _ in range(5)]
    for loop in loops:
        assert ask(loop, jpeg())["code"] == "busy"
        loop.send(jpeg())
    while door.intake.status()["unanswered"] < len(loops) + 3:
        threading.Event().wait(0.001)
    door.closed = door.intake.close(10, Refusal.SHUTTING_DOWN, "stopping")
    assert door.closed
    assert {json.loads(loop.recv())["code"] for loop in loops} == {"shutting_down"}
    assert door.refused.count(Refusal.BUSY) == 5


def test_one_that_floods_does_not_starve_another(open_door, connect) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session)
    flood = connect(zmq.DEALER, door.section.bind)
    flood.send_multipart([header(id=0), jpeg()])
    assert session.running.wait(10)
    for number in range(1, 100):
        flood.send_multipart([header(id=number), jpeg()])
    refused = [json.loads(flood.recv()) for _ in range(94)]
    assert {answer["code"] for answer in refused} == {"busy"}
    honest = connect(zmq.REQ, door.section.bind)
    honest.send(jpeg())
    while door.frame_queue.peers < 2:
        threading.Event().wait(0.001)
    # Before it: the one that runs, the one that is decoded, and the flood's next one.
    session.release(4)
    assert json.loads(honest.recv())["status"] == "ok"
    session.release(3)
    answers = [json.loads(flood.recv()) for _ in range(6)]
    assert {answer["status"] for answer in answers} == {"ok"}


def test_frames_whose_time_is_over_make_room_for_fresh_ones(open_door, connect) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session, queue_limit=2)
    dealer = connect(zmq.DEALER, door.section.bind)
    dealer.send_multipart([header(id="runs"), jpeg()])
    assert session.running.wait(10)
    dealer.send_multipart([header(id="decoded"), jpeg()])
    settle(door, dealer)
    dealer.send_multipart([header(id="old", ttl_ms=1), jpeg()])
    dealer.send_multipart([header(id="fresh"), jpeg()])
    while (answer := json.loads(dealer.recv()))["id"] == "fresh":
        assert answer["code"] == "busy", "it came within the millisecond"
        dealer.send_multipart([header(id="fresh"), jpeg()])
    assert (answer["id"], answer["code"]) == ("old", "expired")
    session.release(3)
    assert {json.loads(dealer.recv())["id"] for _ in range(3)} == {"runs", "decoded", "fresh"}


def test_a_question_is_not_counted_among_the_unanswered_whatever_door_it_comes_by(
    full, connect, monkeypatch
) -> None:
    door = full(pace_ms=7)
    monkeypatch.setattr(door.intake, "_describe", lambda *asked: door.intake.status())
    assert door.intake.status()["unanswered"] == 3
    asker = connect(zmq.REQ, door.section.bind)
    assert ask(asker, b'{"v": 1, "op": "stats"}')["unanswered"] == 3
    door.session.release(10)
    while door.intake.status()["unanswered"]:
        threading.Event().wait(0.001)
    assert ask(asker, b'{"v": 1, "op": "stats"}')["unanswered"] == 0
