"""The door and the pipeline behind it, over real sockets, with a Session that the test holds in its hand."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
import zmq

from doubles import ScriptedSession, jpeg
from incv3d.config.intake import IntakeSection
from incv3d.engines.base import SessionError
from incv3d.events.monitor import event_message
from incv3d.events.presence import PresenceChange
from incv3d.frames import CHANNELS, Prediction, Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import FAILURES_IN_A_ROW
from incv3d.transports.errors import TransportError
from incv3d.transports.zeromq.server import ZmqServer
from message_strategies import picture
from zeromq_server import ask, header


def test_a_bare_picture_from_a_req_socket_gets_its_label(open_door, connect) -> None:
    answer = ask(connect(zmq.REQ, open_door().section.bind), jpeg())
    assert answer["status"] == "ok"
    assert answer["predictions"][0] == {"index": 1, "synset": "n1", "label": "label 1", "score": 0.75}
    assert answer["model"] == "m" and answer["engine"] == "e"
    assert set(answer["timing_ms"]) == {"queue", "decode", "run", "total"}


@pytest.mark.parametrize("said", ["jpeg", "png", "webp", "bmp"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_first_bytes_tell_the_format_whatever_the_envelope_says(
    open_door, connect, said: str, kind: str
) -> None:
    req = connect(zmq.REQ, open_door().section.bind)
    for first in (header(encoding=said), b'{"msg": "pi"}'):
        assert ask(req, first, picture(kind))["status"] == "ok"


def test_a_native_request_gets_its_id_and_its_top_k_back(open_door, connect) -> None:
    answer = ask(connect(zmq.REQ, open_door().section.bind), header(id="x-1", top_k=1), jpeg())
    assert answer["id"] == "x-1" and len(answer["predictions"]) == 1


def test_raw_pixels_are_classified(open_door, connect) -> None:
    door = connect(zmq.REQ, open_door().section.bind)
    for encoding, channels in CHANNELS.items():
        pixels = np.zeros((6, 4, channels), np.uint8).tobytes()
        assert ask(door, header(encoding=encoding, width=4, height=6), pixels)["status"] == "ok"


def test_operations_are_answered(open_door, connect) -> None:
    door = connect(zmq.REQ, open_door().section.bind)
    for operation in ("ping", "stats", "info"):
        answer = ask(door, json.dumps({"v": 1, "op": operation, "id": 7}).encode())
        assert answer == {"v": 1, "id": 7, "status": "ok", "op": operation, "state": "ready"}


def test_events_are_published_under_their_topics_after_what_was_delivered_before(open_door, connect) -> None:
    door = open_door()
    event = event_message(PresenceChange("entered", "porch", Prediction(0, "", "cat", 0.9), 0.0, 3, 0.9), 0.0)
    subscriber = connect(zmq.SUB, door.section.publish)
    while not subscriber.poll(50):  # a subscription takes a moment to arrive
        door.intake.publish_event(event)
    while subscriber.poll(50):
        subscriber.recv_multipart()
    for _ in range(2):
        door.intake.deliver(Result("porch"))
        door.intake.publish_event(event)
    assert [subscriber.recv_multipart()[0] for _ in range(4)] == [b"result.porch", b"event.porch"] * 2


def test_results_are_published_under_their_source(open_door, connect) -> None:
    section = open_door().section
    subscriber = connect(zmq.SUB, section.publish)
    door = connect(zmq.REQ, section.bind)
    subscriber.set(zmq.RCVTIMEO, 50)
    for _ in range(200):  # a subscription takes a moment to arrive: ask until it has
        answer = ask(door, jpeg())
        try:
            topic, published = subscriber.recv_multipart()
        except zmq.Again:
            continue
        assert topic == b"result.zmq" and json.loads(published)["predictions"] == answer["predictions"]
        return
    pytest.fail("nothing was published")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([b""], "bad_request"),
        ([b"", b""], "bad_request"),
        ([b"{"], "bad_request"),
        ([b'{"v":1,"op":"dance"}'], "bad_request"),
        ([b"[" * 60_000, b"x"], "bad_request"),
        ([b"\xff\xfe{}", b"x"], "bad_request"),
        ([header(ttl=5), jpeg()], "bad_request"),
        ([header(captured_at=float("nan")), jpeg()], "bad_request"),
        ([header(width=1e300), jpeg()], "bad_request"),
        ([header(encoding="gray8", width=0, height=0), b"x"], "bad_request"),
        ([header(encoding="gray8", width=9, height=9), b"x"], "bad_image"),
        ([b"no picture at all"], "bad_image"),
        ([jpeg()[:200]], "bad_image"),
        ([b"a", b"b", b"c"], "bad_request"),
        ([b"a"] * 7, "bad_request"),
    ],
)
def test_what_is_wrong_is_answered_and_the_door_stays_open(open_door, connect, parts, code) -> None:
    door = connect(zmq.REQ, open_door().section.bind)
    answer = ask(door, *parts)
    assert (answer["status"], answer["code"]) == ("error", code), answer
    assert answer["detail"]
    assert ask(door, jpeg())["status"] == "ok"


def test_the_id_of_a_bad_header_comes_back(open_door, connect) -> None:
    answer = ask(connect(zmq.REQ, open_door().section.bind), header(id=5, colour="red"), jpeg())
    assert answer["id"] == 5 and "colour" in answer["detail"]


def test_a_message_over_the_limit_is_too_large_and_one_far_over_it_is_cut_off(open_door, connect) -> None:
    section = open_door(max_message_bytes=100_000).section
    assert ask(connect(zmq.REQ, section.bind), bytes(150_000))["code"] == "too_large"
    flooder = connect(zmq.DEALER, section.bind)
    flooder.send(bytes(300_000))
    assert ask(connect(zmq.REQ, section.bind), jpeg())["status"] == "ok"


def test_a_frame_past_its_ttl_is_expired_on_arrival_and_at_its_turn(open_door, connect) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session)
    dealer = connect(zmq.DEALER, door.section.bind)
    dealer.send_multipart([header(id="old", age_ms=6, ttl_ms=5), jpeg()])
    answer = json.loads(dealer.recv())
    assert (answer["id"], answer["code"]) == ("old", "expired")
    dealer.send_multipart([header(id="first"), jpeg()])
    assert session.running.wait(10)
    dealer.send_multipart([header(id="late", ttl_ms=1), jpeg()])
    session.release(2)
    by_id = {answer["id"]: answer for answer in (json.loads(dealer.recv()) for _ in range(2))}
    assert by_id["first"]["status"] == "ok"
    # It may have been let through within its millisecond; then it was classified in time.
    assert by_id["late"].get("code") == "expired" or by_id["late"]["timing_ms"]["queue"] < 1


@pytest.mark.parametrize("behind_s", [1.0, 3600.0, -1.0, -3600.0, 1e9])
def test_a_sender_whose_clock_is_wrong_gets_its_labels(open_door, connect, behind_s: float) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    for _ in range(3):
        answer = ask(dealer, header(captured_at=time.time() - behind_s, ttl_ms=500), jpeg())
        assert answer["status"] == "ok", answer
        assert answer["age_ms"] < 500


def test_a_sender_whose_clock_is_right_is_told_that_its_frame_is_too_old(open_door, connect) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    assert ask(dealer, header(captured_at=time.time() - 5, ttl_ms=500), jpeg())["code"] == "expired"
    assert ask(dealer, header(captured_at=time.time(), ttl_ms=500), jpeg())["status"] == "ok"
    assert ask(dealer, header(captured_at=time.time() - 0.9, ttl_ms=500), jpeg())["code"] == "expired"
    answer = ask(dealer, header(captured_at=time.time() - 2), jpeg())
    assert 1900 < answer["age_ms"] < 10_000


def test_an_age_is_taken_at_its_word(open_door, connect) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    assert ask(dealer, header(age_ms=600, ttl_ms=500), jpeg())["code"] == "expired"
    assert ask(dealer, header(age_ms=600), jpeg())["age_ms"] >= 600
    answer = ask(dealer, header(id=1, age_ms=1, captured_at=time.time()), jpeg())
    assert (answer["id"], answer["code"]) == (1, "bad_request")


def test_the_next_frame_is_decoded_while_one_runs(open_door, connect) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session)
    dealer = connect(zmq.DEALER, door.section.bind)
    dealer.send_multipart([header(id="good"), jpeg()])
    assert session.running.wait(10)
    dealer.send_multipart([header(id="bad"), jpeg()[:100]])
    assert json.loads(dealer.recv())["id"] == "bad", "the decoder did not work while the Session ran"
    session.release()
    assert json.loads(dealer.recv())["id"] == "good"


def test_a_failing_run_answers_internal_and_the_next_frame_is_served(open_door, connect) -> None:
    def fail_once(number: int) -> None:
        if number == 1:
            raise SessionError("out of luck")

    door = connect(zmq.REQ, open_door(ScriptedSession(script=fail_once)).section.bind)
    assert ask(door, jpeg())["code"] == "internal"
    assert ask(door, jpeg())["status"] == "ok"


def test_a_session_that_keeps_failing_is_reported_after_answering(open_door, connect) -> None:
    def fail(number: int) -> None:
        raise SessionError("broken")

    door = open_door(ScriptedSession(script=fail))
    req = connect(zmq.REQ, door.section.bind)
    for _ in range(FAILURES_IN_A_ROW):
        assert ask(req, jpeg())["code"] == "internal"
    thread, error = door.deaths.get(timeout=10)
    assert thread == "session" and "times in a row" in str(error)
    assert door.session.closed


def test_closing_answers_those_in_flight_and_refuses_those_who_come_later(open_door, connect) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session)
    dealer = connect(zmq.DEALER, door.section.bind)
    dealer.send_multipart([header(id="running"), jpeg()])
    assert session.running.wait(10)
    for frame in door.frame_queue.close():
        door.intake.deliver(Result.refused(frame, Refusal.SHUTTING_DOWN, "stopping"))
    dealer.send_multipart([header(id="late"), jpeg()])
    late = json.loads(dealer.recv())
    assert (late["id"], late["code"]) == ("late", "shutting_down")
    session.release()
    assert json.loads(dealer.recv())["id"] == "running"
    assert door.drained.wait(10) and session.closed


def test_a_peer_that_left_before_its_answer_costs_nothing(open_door, connect) -> None:
    session = ScriptedSession(held=True)
    door = open_door(session)
    leaver = connect(zmq.DEALER, door.section.bind)
    leaver.send(jpeg())
    assert session.running.wait(10)
    leaver.close()
    session.release(2)
    assert ask(connect(zmq.REQ, door.section.bind), jpeg())["status"] == "ok"
    assert door.deaths.empty()


def test_an_address_in_use_is_said_in_one_line(open_door, tmp_path) -> None:
    taken = zmq.Context.instance().socket(zmq.ROUTER)
    port = taken.bind_to_random_port("tcp://127.0.0.1")
    section = IntakeSection(bind=f"tcp://127.0.0.1:{port}", publish="")
    nothing: Any = lambda *said: None  # noqa: E731
    room = FrameQueue(1, 1, 1, is_large)
    second = ZmqServer(section, room, nothing, nothing, nothing, nothing, nothing)
    with pytest.raises(TransportError, match=r"intake\.bind: cannot listen on .*in use.*running already"):
        second.open()
    second.close(1, Refusal.SHUTTING_DOWN, "")
    taken.close()
