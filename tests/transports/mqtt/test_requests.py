"""The intake of a fleet over a real broker: what it holds, refuses, answers and gives back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from doubles import jpeg
from incv3d.config.intake import IntakeSection
from incv3d.frames import Prediction, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.transports.admission import Admission
from incv3d.transports.mqtt.broker import Broker
from incv3d.transports.mqtt.busy_answers import ANSWERS_PER_S, ROOM_TO_REFUSE
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.connection import BrokerConnection
from incv3d.transports.mqtt.message import Message
from incv3d.transports.mqtt.outbox import Outbox, Outgoing
from incv3d.transports.mqtt.requests import FrameConsumer, can_be_published_to
from waiting import until

ROOM = 2


class Desk:
    """An intake whose frames the test classifies, one after the other."""

    def __init__(self, port: int) -> None:
        self.frame_queue = FrameQueue(10, 1_000_000, 10, lambda _frame: False)
        complaints = Complaints()
        self.refused: list[Refusal] = []
        self.link = BrokerConnection(
            Broker("127.0.0.1", port), "me", Outgoing("gone", b"x"), Outbox(100),
            ROOM + ROOM_TO_REFUSE, 100_000, complaints, lambda _name, error: pytest.fail(repr(error)),
        )  # fmt: skip
        self.intake = FrameConsumer(
            self.link, "frames/#", "group", ROOM, "me", IntakeSection(),
            Admission(self.frame_queue, lambda: None, self.classified), lambda: ("m", "e"), lambda: 0,
            complaints, self.refused.append,
        )  # fmt: skip
        self.intake.set_subscribed(True)
        self.link.start(self)

    def connected(self) -> None:
        self.intake.connected()

    def receive(self, message: Message) -> None:
        self.intake.receive(message)

    def poll(self) -> float | None:
        return self.intake.poll()

    def classified(self, result: Result) -> None:
        self.intake.deliver(result)

    def classify(self) -> None:
        """Take the next frame that waits, and give its result."""
        until(lambda: len(self.frame_queue), "no frame waits")
        frame = self.frame_queue.take(False)
        assert frame
        good = Prediction(0, "n0", "label", 0.9)
        self.classified(Result(frame.source, frame.id, frame.request_id, (good,), frame=frame))

    def status(self, key: str) -> int:
        return int(self.intake.status()[key])


@pytest.fixture
def desk(broker) -> Iterator[Desk]:
    found = Desk(broker.port)
    subscribed(broker, 1)
    yield found
    assert found.link.close(10, Outgoing("gone", b"x"))


def subscribed(broker, times: int) -> None:
    until(lambda: broker.said.count("me 1 $share/group/frames/#") == times, "it does not subscribe")


def test_as_many_frames_are_held_as_there_is_room_for_and_others_are_busy(broker, listen, desk) -> None:
    listener = listen(broker, "answers/#")
    for number in range(ROOM + 1):
        listener.publish(
            "frames/x", jpeg(), ResponseTopic=f"answers/{number}", CorrelationData=b"%d" % number
        )
    busy = listener.next(f"answers/{ROOM}")
    assert json.loads(busy.payload)["code"] == "busy" and busy.properties.CorrelationData == b"%d" % ROOM
    assert (desk.status("held"), desk.refused) == (ROOM, [Refusal.BUSY])
    for number in range(ROOM):
        desk.classify()
        answer = listener.next(f"answers/{number}")
        assert json.loads(answer.payload)["status"] == "ok"
        assert answer.properties.CorrelationData == b"%d" % number
        assert answer.properties.UserProperty == [("daemon", "me")]
    listener.publish("frames/x", jpeg(), ResponseTopic="answers/last")
    desk.classify()
    assert json.loads(listener.next("answers/last").payload)["status"] == "ok"
    assert (desk.status("taken"), desk.status("answered"), desk.status("held")) == (ROOM + 2, ROOM + 2, 0)


def test_a_sender_that_comes_back_at_once_is_answered_busy_only_so_often(broker, listen, desk) -> None:
    listener = listen(broker, "answers/#")
    for number in range(ROOM):
        listener.publish("frames/x", jpeg(), ResponseTopic=f"answers/{number}")
    until(lambda: desk.status("held") == ROOM, "they are not held")
    began = time.monotonic()
    further = 20
    for _ in range(ROOM_TO_REFUSE + further):
        listener.publish("frames/x", jpeg(), ResponseTopic="answers/again")
        assert json.loads(listener.next("answers/again").payload)["code"] == "busy"
    assert time.monotonic() - began > (further - 1) / ANSWERS_PER_S


def test_frames_that_wait_for_their_busy_answer_take_no_room(broker, listen, desk) -> None:
    listener = listen(broker, "answers/#")
    crowd = ROOM_TO_REFUSE + 10
    for number in range(ROOM + crowd):
        listener.publish("frames/x", b"\xff\xd8" + b"x" * 50, qos=0, ResponseTopic=f"answers/{number}")
    until(lambda: desk.status("taken") == ROOM + crowd, "they do not come")
    desk.classify()
    listener.next("answers/0")
    listener.publish("frames/x", jpeg(), ResponseTopic="answers/more")
    desk.classify()
    desk.classify()
    assert json.loads(listener.next("answers/more").payload)["status"] == "ok"
    until(lambda: desk.status("answered") == ROOM + crowd + 1, "some are not answered")
    assert desk.refused == [Refusal.BUSY] * crowd


@pytest.mark.parametrize("said", [{}, {"ResponseTopic": "a/+/b"}])
def test_every_frame_that_cannot_be_answered_is_acknowledged(broker, listen, desk, said) -> None:
    listener = listen(broker, "answers/#")
    for number in range(2 * (ROOM + ROOM_TO_REFUSE)):
        listener.publish("frames/x", jpeg() if number % 2 else b"", **said)
        if number % 2:
            desk.classify()
    until(lambda: desk.status("answered") == 2 * (ROOM + ROOM_TO_REFUSE), "the broker sends no more")


def test_it_subscribes_again_when_it_has_connected_again(broker, listen, desk) -> None:
    broker.stop()
    broker.start()
    subscribed(broker, 2)
    listener = listen(broker, "answers/#")
    listener.publish("frames/x", jpeg(), ResponseTopic="answers/x")
    desk.classify()
    listener.next("answers/x")


def test_frames_that_are_not_wanted_are_left_to_others(broker, listen, desk) -> None:
    listener = listen(broker, "answers/#")
    desk.intake.set_subscribed(False)
    until(lambda: listener.publish("frames/x", b"").value == 0x10, "it still takes frames")
    taken = desk.status("taken")
    desk.intake.set_subscribed(True)
    subscribed(broker, 2)
    listener.publish("frames/x", jpeg(), ResponseTopic="answers/x")
    desk.classify()
    listener.next("answers/x")
    assert desk.status("taken") == taken + 1


def test_what_is_open_at_the_end_is_refused_once(broker, listen, desk) -> None:
    listener = listen(broker, "answers/#")
    for number in range(ROOM):
        listener.publish("frames/x", jpeg(), ResponseTopic=f"answers/{number}", UserProperty=[("id", "a")])
    until(lambda: desk.status("held") == ROOM, "they are not held")
    desk.intake.close(Refusal.SHUTTING_DOWN, "it ends")
    for number in range(ROOM):
        found = json.loads(listener.next(f"answers/{number}").payload)
        assert (found["code"], found["detail"], found["id"]) == ("shutting_down", "it ends", "a")
    desk.classify()  # one that was under way; it has its answer
    assert desk.status("answered") == ROOM and desk.refused == [Refusal.SHUTTING_DOWN] * ROOM


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("a", True),
        ("a/$b", True),
        ("/" * 99, True),
        ("ä" * 32_767, True),
        ("", False),
        ("$SYS/x", False),
        ("a/+", False),
        ("a#", False),
        ("a\0", False),
        ("a\ufffd", False),
        ("/" * 100, False),
        ("ä" * 32_768, False),
    ],
)
def test_what_can_be_published_to(topic, expected) -> None:
    assert can_be_published_to(topic) is expected
