"""The wire format: what is read, what is answered, what is refused."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.frames import Frame, Prediction, Refusal, Result, Timings
from incv3d.protocol import messages
from message_strategies import MESSAGES, VALID, mutated

NOW = messages.Clocks(monotonic=1000.0, unix=1_700_000_000.0)
JPEG = b"\xff\xd8\xff" + bytes(10)


def parse(*parts: bytes, ttl_ms: float = 0, max_bytes: int = 1000) -> messages.Request:
    return messages.parse(list(parts), NOW, ttl_ms, max_bytes)


def parsed(*parts: bytes, **limits: Any) -> Frame:
    frame = parse(*parts, **limits).frame
    assert frame
    return frame


def header(**fields: Any) -> bytes:
    return json.dumps({"v": 1, "encoding": "jpeg", **fields}).encode()


def test_one_part_is_an_encoded_picture() -> None:
    frame = parsed(JPEG)
    assert (frame.source, frame.encoding, bytes(frame.data)) == ("zmq", None, JPEG)
    assert frame.received == frame.captured == 1000.0 and frame.deadline is None


def test_one_part_of_json_is_a_question() -> None:
    intent = parse(b'{"v":1,"op":"stats","id":"q"}')
    assert (intent.operation, intent.id, intent.frame) == ("stats", "q", None)


def test_a_native_header_says_everything_about_its_frame() -> None:
    sent = header(id=7, encoding="rgb24", width=4, height=3, captured_at=NOW.unix - 2, ttl_ms=500, top_k=3)
    frame = parsed(sent, bytes(36))
    assert (frame.id, frame.encoding, frame.width, frame.height, frame.top_k) == (7, "rgb24", 4, 3, 3)
    assert frame.captured == 998.0 and frame.deadline == 998.5


def test_a_sender_whose_clock_is_ahead_took_its_picture_just_now() -> None:
    assert parsed(header(captured_at=NOW.unix + 3600), JPEG).captured == 1000.0


def test_an_age_counts_without_any_clock() -> None:
    frame = parsed(header(age_ms=1500, ttl_ms=2000), JPEG)
    assert (frame.received, frame.captured, frame.deadline) == (1000.0, 998.5, 1000.5)
    assert parsed(header(age_ms=0), JPEG).captured == 1000.0


def test_the_default_time_to_live_holds_for_those_who_name_none() -> None:
    assert parsed(JPEG, ttl_ms=200).deadline == 1000.2
    assert parsed(header(ttl_ms=50), JPEG, ttl_ms=200).deadline == 1000.05


def test_imagezmq_pixels_and_jpegs_are_read() -> None:
    pixels = parsed(b'{"msg": "pi", "dtype": "uint8", "shape": [2, 3, 3]}', bytes(18))
    assert (pixels.id, pixels.encoding, pixels.width, pixels.height) == ("pi", "bgr24", 3, 2)
    grey = parsed(b'{"msg": "pi", "dtype": "uint8", "shape": [2, 3]}', bytes(6))
    assert grey.encoding == "gray8"
    jpeg = parsed(b'{"msg": "pi"}', JPEG)
    assert (jpeg.id, jpeg.encoding) == ("pi", "jpeg")


@pytest.mark.parametrize(
    ("shape", "encoding"),
    [([2, 3], "gray8"), ([2, 3, 1], "gray8"), ([2, 3, 3], "bgr24"), ([2, 3, 4], "bgra")],
)
def test_imagezmq_pixels_of_every_number_of_channels_are_read(shape: list[int], encoding: str) -> None:
    sent = json.dumps({"msg": "pi", "dtype": "uint8", "shape": shape}).encode()
    frame = parsed(sent, bytes(math.prod(shape)))
    assert (frame.encoding, frame.width, frame.height) == (encoding, 3, 2)


def test_an_encoded_picture_is_of_the_size_and_the_format_that_its_bytes_say() -> None:
    frame = parsed(header(encoding="png", width=1, height=1), JPEG)
    assert (frame.encoding, frame.width, frame.height) == ("jpeg", 0, 0)


def test_imagezmq_messages_need_not_be_strings() -> None:
    assert parsed(b'{"msg": [1, 2]}', JPEG).id == "[1, 2]"
    assert len(str(parsed(json.dumps({"msg": "x" * 500}).encode(), JPEG).id)) == 200


@pytest.mark.parametrize(
    ("parts", "words", "id"),
    [
        ((), "an empty message", None),
        ((b"a", b"b", b"c"), "one part or two, this has 3", None),
        ((b"",), "an empty picture", None),
        ((header(id=3), b""), "an empty picture", 3),
        ((b'{"v":2,"op":"ping","id":4}',), "not an operation", 4),
        ((b'{"v":1,"op":"dance"}',), "not an operation", None),
        ((b'{"v":1,"op":"ping","extra":1}',), "unknown key `extra`", None),
        ((header(id=5, ttl=5), JPEG), "unknown key `ttl`", 5),
        ((header(**{"a\n\x1b[2Jb": 5}), JPEG), "unknown key `a??[2Jb`", None),
        ((b'{"msg":"a","dtype":"x\\ny","shape":[2,2]}', bytes(4)), "these are x?y [2, 2]", "a"),
        ((header(id=6, v=2), JPEG), "bad header", 6),
        ((header(id="a", encoding="gif"), JPEG), "bad header", "a"),
        ((header(id="a", encoding="rgb24"), JPEG), "needs width and height", "a"),
        ((header(encoding="gray8", width=0, height=1), JPEG), "bad header", None),
        ((header(encoding="gray8", width=10**400, height=1), JPEG), "bad header", None),
        ((header(id="x" * 201), JPEG), "bad header", None),
        ((header(id={"a": 1}), JPEG), "bad header", None),
        ((header(captured_at=float("inf")), JPEG), "bad header", None),
        ((header(captured_at=1e308), JPEG), "bad header", None),
        ((header(captured_at=-1e308), JPEG), "bad header", None),
        ((header(captured_at=1.7e12), JPEG), "bad header", None),
        ((header(ttl_ms=-1), JPEG), "bad header", None),
        ((header(age_ms=-1), JPEG), "bad header", None),
        ((header(age_ms=float("nan")), JPEG), "bad header", None),
        ((header(age_ms=1e300), JPEG), "bad header", None),
        ((header(id=9, age_ms=1, captured_at=NOW.unix), JPEG), "age_ms or captured_at", 9),
        ((header(top_k=0), JPEG), "bad header", None),
        ((b"[" * 5000, JPEG), "bad header", None),
        ((b'{"v":1,"id":' + b"[" * 20_000, JPEG), "bad header", None),
        ((b"\xff\xfe", JPEG), "bad header", None),
        ((b'{"id":"\xff"}', JPEG), "bad header", None),
        ((b" " * 70_000, JPEG), "a header of 70000 bytes", None),
        ((b'{"msg":"a","dtype":"float32","shape":[2,2]}', bytes(16)), "must be uint8", "a"),
        ((b'{"msg":"a","dtype":"uint8","shape":[2,2,2]}', bytes(8)), "must be uint8", "a"),
        ((b'{"msg":"a","dtype":"uint8","shape":[2,2,4,1]}', bytes(16)), "must be uint8", "a"),
        ((b'{"msg":"a","dtype":"uint8","shape":[]}', bytes(16)), "must be uint8", "a"),
        ((b'{"msg":"a","dtype":"uint8","shape":[0,5]}', b""), "a picture of 5x0", "a"),
    ],
)
def test_what_is_not_of_the_format_is_refused_with_a_reason(parts, words, id) -> None:
    with pytest.raises(messages.BadRequest) as caught:
        parse(*parts)
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)
    assert (caught.value.refusal, caught.value.id) == (Refusal.BAD_REQUEST, id)


def test_too_many_bytes_are_too_large() -> None:
    with pytest.raises(messages.BadRequest, match="1001 bytes, at most 1000") as caught:
        parse(header(id=1), bytes(1001))
    assert caught.value.refusal is Refusal.TOO_LARGE and caught.value.id == 1


@given(MESSAGES)
def test_any_message_is_a_request_or_a_bad_request(parts: list[bytes]) -> None:
    try:
        intent = parse(*parts)
    except messages.BadRequest as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert bool(intent.frame) != bool(intent.operation)


@given(VALID)
def test_what_is_of_the_format_is_a_request(parts: list[bytes]) -> None:
    intent = parse(*parts, max_bytes=10**6)
    assert bool(intent.frame) != bool(intent.operation)


@given(VALID, st.randoms(use_true_random=False))
def test_a_damaged_request_is_a_request_or_a_bad_request(parts: list[bytes], rng: Random) -> None:
    try:
        parse(*mutated(parts, rng))
    except messages.BadRequest as error:
        assert str(error)


def test_an_answer_has_the_documented_shape() -> None:
    result = Result(
        "zmq", "x", 1, (Prediction(169, "n02510455", "giant panda", 0.89107),), Timings(1.23456, 2, 3, 6.5, 7)
    )
    assert json.loads(messages.answer(result, "inception-v3", "tensorflow", 0)) == {
        "v": 1,
        "id": "x",
        "status": "ok",
        "model": "inception-v3",
        "engine": "tensorflow",
        "predictions": [{"index": 169, "synset": "n02510455", "label": "giant panda", "score": 0.89107}],
        "timing_ms": {"queue": 1.235, "decode": 2, "run": 3, "total": 6.5},
        "age_ms": 7,
    }


def test_a_refusal_has_the_documented_shape_and_a_bounded_detail() -> None:
    answer = json.loads(messages.refuse(Refusal.BUSY, "x" * 1000, None, 8))
    assert len(answer.pop("detail")) == messages.LONGEST_DETAIL
    assert answer == {"v": 1, "id": None, "status": "error", "code": "busy", "queue_depth": 8}
