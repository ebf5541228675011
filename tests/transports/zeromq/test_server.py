"""The door and the pipeline behind it, over real sockets, with a Session that the test holds in its hand."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.config.schema import IntakeSection
from incv3d.engines.base import SessionError
from incv3d.events.monitor import event_message
from incv3d.events.presence import PresenceChange
from incv3d.frames import CHANNELS, Prediction, Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import FAILURES_IN_A_ROW, Pipeline
from incv3d.transports.admission import Admission
from incv3d.transports.zeromq.retries import MOST_HELD_OF_ONE
from incv3d.transports.zeromq.server import ZmqServer
from incv3d.transports.zeromq.sockets import ServerError
from message_strategies import picture

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")
SOON_MS = 10_000


@dataclass
class Door:
    """An intake and a pipeline at work, and what they reported."""

    section: IntakeSection
    frame_queue: FrameQueue
    session: ScriptedSession
    intake: ZmqServer
    pipeline: Pipeline
    refused: list[Refusal] = field(default_factory=list)
    deaths: queue.SimpleQueue[tuple[str, BaseException]] = field(default_factory=queue.SimpleQueue)
    drained: threading.Event = field(default_factory=threading.Event)
    closed: bool = False


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Callable[..., Door]]:
    doors: list[Door] = []

    def make(session: ScriptedSession | None = None, pace_ms: float = 7.0, **settings: Any) -> Door:
        session = session or ScriptedSession()
        folder = tmp_path / str(len(doors))
        folder.mkdir()
        section = IntakeSection(
            **{"bind": f"ipc://{folder}/door", "publish": f"ipc://{folder}/results", **settings}
        )
        frame_queue = FrameQueue(section.queue_limit, section.queue_bytes, section.peer_limit, is_large)
        refused: list[Refusal] = []
        sent: list[Result] = []
        deaths: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
        drained = threading.Event()

        def died(thread: str, error: BaseException) -> None:
            deaths.put((thread, error))

        def describe(operation: str) -> dict[str, Any]:
            return {"state": "ready"}

        def deliver(result: Result) -> None:
            intake.deliver(result)

        admission = Admission(frame_queue, lambda: pace_ms, deliver)
        intake = ZmqServer(
            section, frame_queue, describe, lambda: ("m", "e"), admission, refused.append, sent.append, died
        )

        classifier = Classifier(Preprocessor(SPEC, section.max_pixels), session, TwoLabels(), top_k=5)
        pipeline = Pipeline(frame_queue, lambda: classifier, deliver, lambda: None, drained.set, died)
        door = Door(section, frame_queue, session, intake, pipeline, refused, deaths, drained)
        intake.open()
        intake.start()
        pipeline.start()
        doors.append(door)
        return door

    yield make
    for door in doors:
        door.session.release(1000)
        door.frame_queue.close()
        assert door.closed or door.intake.close(10, Refusal.SHUTTING_DOWN, "the test is over")


@pytest.fixture
def connect() -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    context = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def make(kind: int, address: str) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, SOON_MS)
        if kind == zmq.SUB:
            socket.set(zmq.SUBSCRIBE, b"")
        socket.connect(address)
        sockets.append(socket)
        return socket

    yield make
    for socket in sockets:
        socket.close()
    context.term()


def ask(socket: zmq.Socket[bytes], *parts: bytes) -> dict[str, Any]:
    socket.send_multipart(list(parts))
    return json.loads(socket.recv())


def settle(door: Door, dealer: zmq.Socket[bytes]) -> None:
    """Wait until what `dealer` sent has left the waiting room."""
    dealer.send(json.dumps({"v": 1, "op": "ping"}).encode())
    assert json.loads(dealer.recv())["op"] == "ping"
    while len(door.frame_queue):
        threading.Event().wait(0.001)


def header(**fields: Any) -> bytes:
    return json.dumps({"v": 1, "encoding": "jpeg", **fields}).encode()


def test_a_bare_picture_from_a_req_socket_gets_its_label(open_door, connect) -> None:
    answer = ask(connect(zmq.REQ, open_door().section.bind), jpeg())
    assert answer["status"] == "ok"
    assert answer["predictions"][0] == {"index": 1, "synset": "n1", "label": "label 1", "score": 0.75}
    assert answer["model"] == "m" and answer["engine"] == "e"
    assert set(answer["timing_ms"]) == {"queue", "decode", "run", "total"}


def test_dealers_with_and_without_a_delimiter_are_answered_in_their_own_form(open_door, connect) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    dealer.send_multipart([jpeg()])
    assert len(dealer.recv_multipart()) == 1
    dealer.send_multipart([b"", jpeg()])
    empty, answer = dealer.recv_multipart()
    assert empty == b"" and json.loads(answer)["status"] == "ok"


@pytest.fixture
def through_proxies(connect) -> Iterator[Callable[[str, int], str]]:
    """The address of the first of some proxies, the last of which is connected to a door."""
    context = zmq.Context()
    threads: list[threading.Thread] = []

    def proxy(front: zmq.Socket[bytes], back: zmq.Socket[bytes]) -> None:
        with pytest.raises(zmq.ContextTerminated):
            zmq.proxy(front, back)
        front.close(0)
        back.close(0)

    def make(address: str, proxies: int) -> str:
        for _ in range(proxies):
            front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
            back.connect(address)
            address = f"tcp://127.0.0.1:{front.bind_to_random_port('tcp://127.0.0.1')}"
            threads.append(threading.Thread(target=proxy, args=(front, back)))
            threads[-1].start()
        return address

    yield make
    context.term()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


REQUESTS = ([jpeg()], [b'{"v":1,"encoding":"jpeg","id":7}', jpeg()], [b'{"v":1,"op":"ping"}'])


def asker(connect, kind: str, address: str) -> Callable[..., dict[str, Any]]:
    """Asks by a socket of this kind."""
    if kind == "dealer":
        dealer = connect(zmq.DEALER, address)
        return lambda *parts: ask(dealer, *parts)
    req = connect(zmq.REQ, address)
    if kind == "req with ids":
        req.set(zmq.REQ_CORRELATE, 1)
        req.set(zmq.REQ_RELAXED, 1)
    return lambda *parts: ask(req, *parts)


@pytest.mark.parametrize("proxies", [0, 1, 3])
@pytest.mark.parametrize("kind", ["req", "req with ids", "dealer"])
def test_every_kind_of_sender_is_answered_through_any_number_of_proxies(
    open_door, connect, through_proxies, kind: str, proxies: int
) -> None:
    send = asker(connect, kind, through_proxies(open_door().section.bind, proxies))
    for _ in range(2):
        for parts in REQUESTS:
            assert send(*parts)["status"] == "ok"
        assert send(header(id="a", colour="red"), jpeg())["id"] == "a"
        assert send(b"a", b"b", b"c")["code"] == "bad_request"
        assert "empty image" in send(b"")["detail"]
        assert "empty image" in send(header(id=3), b"")["detail"]


def test_senders_behind_one_proxy_get_each_their_own_answer(open_door, connect, through_proxies) -> None:
    address = through_proxies(open_door(queue_limit=64, peer_limit=64).section.bind, 1)
    senders = [connect(zmq.REQ, address) for _ in range(5)]
    for number, sender in enumerate(senders):
        sender.send_multipart([header(id=number), jpeg()])
    for number, sender in reversed(list(enumerate(senders))):
        assert json.loads(sender.recv())["id"] == number


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param([], id="none"),
        pytest.param([b""], id="a delimiter"),
        pytest.param([b"\0\1\2\3", b""], id="a request id with zeros"),
        pytest.param([b"camera", b"\0\0\0\0\7", b""], id="a name and a request id"),
        pytest.param([b"x" * 255, b""], id="the longest name"),
        pytest.param([b"n%d" % n for n in range(60)] + [b""], id="sixty proxies"),
        pytest.param([b"\0abcd", b"\0efgh"], id="proxies without a delimiter"),
    ],
)
def test_an_envelope_comes_back_whole(open_door, connect, envelope: list[bytes]) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    for parts in REQUESTS:
        dealer.send_multipart([*envelope, *parts])
        *back, answer = dealer.recv_multipart()
        assert back == envelope and json.loads(answer)["status"] == "ok"


@pytest.mark.parametrize(
    "parts", [[b"x"] * 200, [b""] * 200, [b"n"] * 100 + [b"", jpeg()], [b"x" * 256, b"", jpeg()]]
)
def test_what_is_no_envelope_is_answered_as_a_bad_request(open_door, connect, parts: list[bytes]) -> None:
    dealer = connect(zmq.DEALER, open_door().section.bind)
    dealer.send_multipart(parts)
    assert json.loads(dealer.recv_multipart()[-1])["code"] == "bad_request"
    assert ask(dealer, jpeg())["status"] == "ok"


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


def test_a_question_is_not_counted_among_the_unanswered_whatever_door_it_comes_by(
    full, connect, monkeypatch
) -> None:
    door = full(pace_ms=7)
    monkeypatch.setattr(door.intake, "_describe", lambda operation: door.intake.status())
    assert door.intake.status()["unanswered"] == 3
    asker = connect(zmq.REQ, door.section.bind)
    assert ask(asker, b'{"v": 1, "op": "stats"}')["unanswered"] == 3
    door.session.release(10)
    while door.intake.status()["unanswered"]:
        threading.Event().wait(0.001)
    assert ask(asker, b'{"v": 1, "op": "stats"}')["unanswered"] == 0


def test_events_are_published_under_their_topics_after_what_was_delivered_before(open_door, connect) -> None:
    door = open_door()
    event = event_message(PresenceChange("entered", "porch", Prediction(0, "", "cat", 0.9), 0.0, 3, 0.9), 0.0)
    subscriber = connect(zmq.SUB, door.section.publish)
    while not subscriber.poll(50):  # a subscription takes a moment to arrive
        door.intake.announce(event)
    while subscriber.poll(50):
        subscriber.recv_multipart()
    for _ in range(2):
        door.intake.deliver(Result("porch"))
        door.intake.announce(event)
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
    second = ZmqServer(section, room, nothing, nothing, nothing, nothing, nothing, nothing)
    with pytest.raises(ServerError, match=r"intake\.bind: cannot listen on .*in use.*running already"):
        second.open()
    second.close(1, Refusal.SHUTTING_DOWN, "")
    taken.close()
