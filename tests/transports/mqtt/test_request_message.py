"""A message of the broker as a frame: what its sender may say, and what is wrong with what he says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from doubles import jpeg
from incv3d.frames import Refusal
from incv3d.protocol import messages
from incv3d.transports.mqtt.message import LARGEST_PROPERTIES, Message, Receipt
from incv3d.transports.mqtt.request_message import frame_of, id_of

NOW = messages.Clocks(monotonic=1000.0, unix=1_800_000_000.0)
PICTURE = jpeg()


def message(payload: bytes = PICTURE, expiry_s: int | None = None, **properties: str) -> Message:
    return Message("f", payload, Receipt(1, 1, 1), properties, "answers", b"7", expiry_s)


def frame(*words: Any, default_ttl_ms: float = 0, **more: Any):
    return frame_of(message(*words, **more), NOW, default_ttl_ms, max_bytes=1_000_000)


def test_a_picture_alone_is_a_frame() -> None:
    found = frame()
    assert (found.source, found.data, found.encoding, found.deadline) == ("mqtt", PICTURE, "jpeg", None)
    assert found.received == found.captured == NOW.monotonic


def test_its_sender_says_in_user_properties_what_the_native_header_says() -> None:
    found = frame(
        bytes(12), encoding="bgr24", width="2", height="2", top_k="3", id="007", captured_at="1799999999.5"
    )
    assert (found.encoding, found.width, found.height, found.top_k) == ("bgr24", 2, 2, 3)
    assert found.id == "007" and found.captured == NOW.monotonic - 0.5


def test_the_first_bytes_tell_the_format_whatever_the_properties_say() -> None:
    assert frame(encoding="png").encoding == "jpeg"


def test_its_age_can_be_given_instead_of_a_time() -> None:
    assert frame(age_ms="250").captured == NOW.monotonic - 0.25


def test_properties_of_others_are_passed_over() -> None:
    assert frame(traceparent="00-ab-cd-01", v="9").encoding == "jpeg"


@pytest.mark.parametrize(
    ("said", "left_s"),
    [
        ({}, 3.0),
        ({"expiry_s": 2}, 2.0),
        ({"expiry_s": 60}, 3.0),
        ({"expiry_s": 60, "ttl_ms": "5000"}, 5.0),
        ({"expiry_s": 0, "ttl_ms": "5000"}, 0.0),
    ],
)
def test_the_first_of_expiry_and_time_to_live_counts(said, left_s) -> None:
    assert frame(default_ttl_ms=3000, **said).deadline == NOW.monotonic + left_s


@pytest.mark.parametrize(
    ("payload", "said", "refusal", "words"),
    [
        (b"", {}, Refusal.BAD_REQUEST, "an empty image"),
        (bytes(1_000_001), {}, Refusal.TOO_LARGE, "1000001 bytes; the limit is 1000000"),
        (PICTURE, {"top_k": "many"}, Refusal.BAD_REQUEST, "user properties: Expected `int | null`"),
        (PICTURE, {"ttl_ms": "-1"}, Refusal.BAD_REQUEST, "ttl_ms"),
        (PICTURE, {"age_ms": "nan"}, Refusal.BAD_REQUEST, "age_ms"),
        (PICTURE, {"age_ms": "1", "captured_at": "1"}, Refusal.BAD_REQUEST, "age_ms and captured_at"),
        (PICTURE, {"encoding": "gif"}, Refusal.BAD_REQUEST, "encoding"),
        (bytes(12), {"encoding": "rgb24"}, Refusal.BAD_REQUEST, "rgb24 needs width and height"),
        (PICTURE, {"id": "x" * 201}, Refusal.BAD_REQUEST, "id"),
    ],
)
def test_a_mistake_is_said_to_its_sender(payload, said, refusal, words) -> None:
    with pytest.raises(messages.BadRequest) as caught:
        frame(payload, **said)
    assert caught.value.refusal is refusal and words in str(caught.value)


def test_what_looks_like_a_question_is_a_picture_that_is_none() -> None:
    assert frame(b'{"v":1,"op":"ping"}').encoding == "jpeg"


@pytest.mark.parametrize(
    ("size_bytes", "is_admitted"), [(LARGEST_PROPERTIES, True), (LARGEST_PROPERTIES + 1, False)]
)
def test_its_properties_count(size_bytes, is_admitted) -> None:
    sent = replace(message(id="a"), properties_bytes=size_bytes)
    if is_admitted:
        assert frame_of(sent, NOW, 0, 1_000_000).id == "a"
        return
    with pytest.raises(messages.BadRequest) as caught:
        frame_of(sent, NOW, 0, 1_000_000)
    assert (caught.value.refusal, caught.value.id) == (Refusal.TOO_LARGE, "a")
    assert str(caught.value) == f"properties of {size_bytes} bytes exceed the limit of {LARGEST_PROPERTIES}"


def test_an_id_of_at_most_200_characters_is_handed_back() -> None:
    assert id_of(message(id="x" * 200)) == "x" * 200
    assert id_of(message(id="x" * 201)) is None and id_of(message()) is None
