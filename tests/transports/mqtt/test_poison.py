"""A poison frame costs itself: one answer or one log line, and the frames after it are answered."""

from __future__ import annotations

import json

import pytest

from doubles import jpeg
from incv3d.client import Client
from waiting import until

FLEET = {"frames": "incv3d/frames/#"}
MORE_THAN_THE_BROKER_MAY_SEND = 25
"""Frames: 2 that are held and 16 that can be refused may be without an acknowledgement."""


def facts(daemon) -> dict:
    with Client(daemon.door) as client:
        return client.ask("stats")["mqtt"]


def joined(broker) -> None:
    until(lambda: "incv3d-pi 1 $share/" in broker.said, "it does not subscribe")


def lines(daemon, words: str) -> int:
    assert daemon.stop() == 0
    return sum(words in line for line in daemon.said)


def check_that_it_goes_on(broker, listener, daemon, count: int) -> None:
    """A good frame after `count` others is answered, over the same connection."""
    until(lambda: facts(daemon)["frames"]["answered"] == count, "a frame is still held")
    listener.publish("incv3d/frames/x", jpeg(), ResponseTopic="answers/good", CorrelationData=b"good")
    answer = listener.next("answers/good")
    assert json.loads(answer.payload)["status"] == "ok" and answer.properties.CorrelationData == b"good"
    until(lambda: facts(daemon)["frames"]["held"] == 0, "a frame is still held")
    assert broker.said.count("as incv3d-pi ") == 1, "the link flaps"


@pytest.mark.parametrize(
    "said",
    [
        {"CorrelationData": bytes(2900)},
        {"CorrelationData": bytes(2800), "UserProperty": [("id", "ä" * 60)]},
    ],
)
def test_an_answer_that_is_larger_than_the_broker_takes(make_broker, listen, start_daemon, said) -> None:
    broker = make_broker("allow_anonymous true", "max_packet_size 3000")
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, {**FLEET, "discovery": ""})
    joined(broker)
    for number in range(MORE_THAN_THE_BROKER_MAY_SEND):
        # The answer has what its frame had, and more.
        listener.publish("incv3d/frames/x", b"x", ResponseTopic=f"answers/{number}", **said)
    check_that_it_goes_on(broker, listener, daemon, MORE_THAN_THE_BROKER_MAY_SEND)
    assert facts(daemon)["refused"] == MORE_THAN_THE_BROKER_MAY_SEND
    assert lines(daemon, "exceed the 3000 that the broker accepts") == 1


def test_an_answer_is_as_large_as_the_broker_takes_to_the_byte(make_broker, listen, start_daemon) -> None:
    """The size of its correlation data alone moves an answer from what is sent to what is not."""
    broker = make_broker("allow_anonymous true", "max_packet_size 3000")
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, {**FLEET, "discovery": ""})
    joined(broker)
    listener.publish("incv3d/frames/x", b"", ResponseTopic="answers/x", CorrelationData=b"")
    answer = listener.next("answers/x")
    # 3 bytes of length and type, 2 + topic, 2 of number, 2 for the length of the properties, which are the
    # correlation (3 + its size) and the name of the daemon (1 + 2 + 6 + 2 + 2).
    room = 3000 - 3 - (2 + len("answers/x")) - 2 - 2 - 3 - 13 - len(answer.payload)
    for size in (room + 1, room):
        listener.publish("incv3d/frames/x", b"", ResponseTopic="answers/x", CorrelationData=bytes(size))
    assert len(listener.next("answers/x").properties.CorrelationData) == room
    assert facts(daemon)["refused"] == 1
    check_that_it_goes_on(broker, listener, daemon, 3)


@pytest.mark.parametrize(
    "topic",
    ["a/+/b", "#", "$SYS/broker/uptime", "$CONTROL/dynamic-security/v1", "a/" * 300, "a" * 65_534 + "+"],
)
def test_a_response_topic_that_nothing_can_be_published_to(broker, listen, start_daemon, topic) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    for _ in range(MORE_THAN_THE_BROKER_MAY_SEND):
        listener.publish("incv3d/frames/x", jpeg(), ResponseTopic=topic)
    check_that_it_goes_on(broker, listener, daemon, MORE_THAN_THE_BROKER_MAY_SEND)
    assert lines(daemon, "a frame of incv3d/frames/x cannot be answered: nothing can be published to") == 1
    assert max(len(line) for line in daemon.said) < 400


def test_a_flood_of_properties_is_answered_and_stops_nothing(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    flood = [("k", "v")] * 20_000
    listener.publish(
        "incv3d/frames/x",
        bytes(4_000_000),
        ResponseTopic="answers/x",
        CorrelationData=b"7",
        UserProperty=flood,
    )
    answer = listener.next("answers/x")
    found = json.loads(answer.payload)
    assert (found["code"], answer.properties.CorrelationData) == ("too_large", b"7")
    assert found["detail"] == "properties of 140016 bytes exceed the limit of 65536"
    check_that_it_goes_on(broker, listener, daemon, 1)


def test_long_correlation_data_come_back_whole(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    for size, status in ((65_000, "ok"), (65_535, "error")):
        listener.publish("incv3d/frames/x", jpeg(), ResponseTopic="answers/x", CorrelationData=bytes(size))
        answer = listener.next("answers/x")
        assert json.loads(answer.payload)["status"] == status
        assert answer.properties.CorrelationData == bytes(size)
    check_that_it_goes_on(broker, listener, daemon, 2)


def test_a_byte_order_mark_is_text_like_any_other(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    said = {"ResponseTopic": "answers/\ufeff", "UserProperty": [("\ufeffk", "v"), ("id", "a\ufeff")]}
    listener.publish("incv3d/frames/\ufeff", jpeg(), **said)
    check_that_it_goes_on(broker, listener, daemon, 1)


def test_an_id_that_is_too_long_is_not_handed_back(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    for size, id in ((200, "x" * 200), (60_000, None)):
        said = [("id", "x" * size), ("top_k", "many")]
        listener.publish("incv3d/frames/x", jpeg(), ResponseTopic="answers/x", UserProperty=said)
        payload = listener.next("answers/x").payload
        assert json.loads(payload)["id"] == id and len(payload) < 1000
    check_that_it_goes_on(broker, listener, daemon, 2)


def test_refused_frames_that_want_no_answer_are_a_line_in_the_log(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    for _ in range(MORE_THAN_THE_BROKER_MAY_SEND):
        listener.publish("incv3d/frames/x", b"no picture")
        listener.publish("incv3d/frames/x", b"")
    check_that_it_goes_on(broker, listener, daemon, 2 * MORE_THAN_THE_BROKER_MAY_SEND)
    assert lines(daemon, "a frame of incv3d/frames/x, which has no response topic, is rejected: bad_") == 1


def test_a_flood_of_bad_commands_is_a_line_in_the_log(broker, listen, start_daemon) -> None:
    listener = listen(broker, "answers/#")
    daemon = start_daemon(broker, FLEET)
    joined(broker)
    for number in range(200):
        listener.publish("incv3d/pi/command", b"reboot %d" % number)
    check_that_it_goes_on(broker, listener, daemon, 0)
    assert lines(daemon, "unknown command") == 1
