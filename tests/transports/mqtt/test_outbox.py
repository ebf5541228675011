"""What waits for the broker: in order, bounded, and only the newest of a state."""

from __future__ import annotations

from incv3d.transports.mqtt.outbox import Outbox, Outgoing


def taken(box: Outbox) -> list[bytes]:
    found = []
    while message := box.take():
        assert isinstance(message.payload, bytes)
        found.append(message.payload)
    return found


def test_messages_leave_in_order() -> None:
    box = Outbox(10)
    for number in range(3):
        box.put(Outgoing("result", b"%d" % number))
    assert taken(box) == [b"0", b"1", b"2"] and not box


def test_beyond_the_limit_the_oldest_is_dropped_and_counted() -> None:
    box = Outbox(2)
    for number in range(5):
        box.put(Outgoing("result", b"%d" % number))
    assert box.dropped == 3 and len(box) == 2
    assert taken(box) == [b"3", b"4"]


def test_of_a_state_the_newest_waits_alone_and_after_the_others() -> None:
    box = Outbox(1)
    for number in range(5):
        box.put(Outgoing("state", b"state %d" % number, is_latest=True))
    box.put(Outgoing("image", b"image", is_latest=True))
    box.put(Outgoing("result", b"result"))
    assert box.dropped == 0
    assert taken(box) == [b"result", b"state 4", b"image"]


def test_every_message_that_another_displaces_is_settled_once() -> None:
    settled: list[str] = []
    box = Outbox(2)
    for number in range(4):
        box.put(Outgoing("result", b"x", on_done=lambda number=number: settled.append(f"result {number}")))
        state = Outgoing(
            "state", b"x", is_latest=True, on_done=lambda number=number: settled.append(f"state {number}")
        )
        box.put(state)
    assert sorted(settled) == ["result 0", "result 1", "state 0", "state 1", "state 2"]
    assert box.dropped == 2 and len(box) == 3
