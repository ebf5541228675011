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
    assert intent.operation and (intent.operation.op, intent.id, intent.frame) == ("stats", "q", None)


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
        ((b"a", b"b", b"c"), "one or two parts, not 3", None),
        ((b"",), "an empty image", None),
        ((header(id=3), b""), "an empty image", 3),
        ((b'{"v":2,"op":"ping","id":4}',), "not an operation", 4),
        ((b'{"v":1,"op":"dance"}',), "not an operation", None),
        ((b'{"v":1,"op":"ping","extra":1}',), "unknown key `extra`", None),
        ((header(id=5, ttl=5), JPEG), "unknown key `ttl`", 5),
        ((header(**{"a\n\x1b[2Jb": 5}), JPEG), "unknown key `a??[2Jb`", None),
        ((b'{"msg":"a","dtype":"x\\ny","shape":[2,2]}', bytes(4)), "not x?y [2, 2]", "a"),
        ((header(id=6, v=2), JPEG), "bad header", 6),
        ((header(id="a", encoding="gif"), JPEG), "bad header", "a"),
        ((header(id="a", encoding="rgb24"), JPEG), "needs width and height", "a"),
        ((header(id="a", encoding="rgb24", width=4), JPEG), "needs width and height", "a"),
        ((header(id="a", encoding="rgb24", height=3), JPEG), "needs width and height", "a"),
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
        ((header(id=9, age_ms=1, captured_at=NOW.unix), JPEG), "age_ms and captured_at", 9),
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
        ((b'{"msg":"a","dtype":"uint8","shape":[0,5]}', b""), "an image cannot have 5x0 pixels", "a"),
    ],
)
def test_what_is_not_of_the_format_is_refused_with_a_reason(parts, words, id) -> None:
    with pytest.raises(messages.BadRequest) as caught:
        parse(*parts)
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)
    assert (caught.value.refusal, caught.value.id) == (Refusal.BAD_REQUEST, id)


@pytest.mark.parametrize(
    ("field", "least", "most", "below", "above"),
    [
        ("width", 1, 65_535, 0, 65_536),
        ("height", 1, 65_535, 0, 65_536),
        ("captured_at", 0, 1e11, -0.001, 1e11 + 1),
        ("age_ms", 0, 1e11, -0.001, 1e11 + 1),
        ("ttl_ms", 0.001, 1e300, 0, -0.001),
        ("top_k", 1, 1000, 0, 1001),
        ("id", "", "x" * 200, "x" * 201, [1]),
    ],
)
def test_a_header_is_read_up_to_its_limits_and_refused_beyond(field, least, most, below, above) -> None:
    def sent(value: Any) -> bytes:
        return header(**{"encoding": "rgb24", "width": 4, "height": 3, field: value})

    for value in (least, most):
        assert parsed(sent(value), bytes(36))
    for value in (below, above):
        with pytest.raises(messages.BadRequest, match=f"bad header: .*{field}"):
            parse(sent(value), bytes(36))


@pytest.mark.parametrize(("size", "is_read"), [(65_536, True), (65_537, False)])
@pytest.mark.parametrize("rest", [[], [JPEG]])
def test_a_header_has_at_most_64_kib(size: int, is_read: bool, rest: list[bytes]) -> None:
    sent = header(id=1) if rest else b'{"v":1,"op":"ping","id":1}'
    sent = sent + b" " * (size - len(sent))
    if is_read:
        assert parse(sent, *rest).id == 1
    else:
        with pytest.raises(messages.BadRequest, match="a header of 65537 bytes; the limit is 65536"):
            parse(sent, *rest)


def test_the_id_of_a_question_has_at_most_200_characters() -> None:
    def ask(length: int, operation: str = "ping") -> messages.Request:
        return parse(json.dumps({"v": 1, "op": operation, "id": "x" * length}).encode())

    assert ask(200).id == "x" * 200
    for length, operation, id in ((201, "ping", None), (200, "dance", "x" * 200), (201, "dance", None)):
        with pytest.raises(messages.BadRequest, match="not an operation") as caught:
            ask(length, operation)
        assert caught.value.id == id


@pytest.mark.parametrize("side", [0, 1, 65_535, 65_536, -1])
def test_the_sides_of_an_array_have_the_limits_of_those_of_a_header(side: int) -> None:
    for shape in ([1, side], [side, 1]):
        sent = json.dumps({"msg": "pi", "dtype": "uint8", "shape": shape}).encode()
        if 1 <= side <= 65_535:
            frame = parsed(sent, bytes(side), max_bytes=10**6)
            assert [frame.height, frame.width] == shape
        else:
            with pytest.raises(messages.BadRequest, match=f"cannot have {shape[1]}x{shape[0]} pixels"):
                parse(sent, bytes(4))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b'{"v":1,"id":' + b"[" * 20_000, "bad header: nested too deeply"),
        (b'{"id":"\xff"}', "bad header: not UTF-8"),
        (header(top_k="x"), "bad header: Expected `int | null`, got `str` at `top_k`"),
        (header(ttl=1), "bad header: unknown key `ttl`"),
        (b'{"v":1,"msg":"pi"}', "bad header: unknown key `msg`"),
        (b'{"name":"pi"}', "bad header: unknown key `name`"),
        (
            b'{"msg":"a","dtype":"uint8","shape":[1,2,3,4,5,6]}',
            "pixels must be uint8, gray, BGR or BGRA, not uint8 [1, 2, 3, 4]",
        ),
    ],
)
def test_what_is_wrong_with_a_header_is_said_in_its_senders_words(sent: bytes, words: str) -> None:
    with pytest.raises(messages.BadRequest) as caught:
        parse(sent, JPEG)
    assert str(caught.value) == words


def test_a_long_name_that_is_no_string_is_cut_like_one() -> None:
    assert parsed(json.dumps({"msg": ["x" * 500]}).encode(), JPEG).id == f"['{'x' * 198}"


def test_a_picture_of_the_largest_size_and_one_of_a_byte_are_read() -> None:
    assert parsed(bytes(1000)) and parsed(b"x")
    with pytest.raises(messages.BadRequest, match="1001 bytes"):
        parse(bytes(1001))


def test_too_many_bytes_are_too_large() -> None:
    with pytest.raises(messages.BadRequest, match="1001 bytes; the limit is 1000") as caught:
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


@pytest.mark.parametrize(("length", "is_whole"), [(300, True), (301, False)])
def test_the_detail_of_a_refusal_has_at_most_300_characters(length: int, is_whole: bool) -> None:
    detail = "a" * (length - 1) + "b"
    answer = json.loads(messages.refuse(Refusal.INTERNAL, detail, 1, 0))
    assert answer["detail"] == (detail if is_whole else "a" * 299 + "…")


def test_a_refused_frame_is_answered_with_its_reason_and_no_predictions() -> None:
    result = Result("zmq", "x", 1, (), Timings(0, 0, 0, 0, 0), Refusal.EXPIRED, "too old")
    assert json.loads(messages.answer(result, "inception-v3", "tensorflow", 3)) == {
        "v": 1,
        "id": "x",
        "status": "error",
        "code": "expired",
        "detail": "too old",
        "queue_depth": 3,
    }


def test_a_busy_daemon_says_when_to_come_again() -> None:
    answer = json.loads(messages.refuse(Refusal.BUSY, "full", 5, 8, retry_ms=120))
    assert (answer["code"], answer["id"], answer["queue_depth"], answer["retry_ms"]) == ("busy", 5, 8, 120)


def test_times_are_told_to_a_microsecond() -> None:
    timings = Timings(1.23456, 2.34567, 3.45678, 4.56789, 5.67891)
    result = Result("zmq", None, 1, (), timings)
    answer = json.loads(messages.answer(result, "m", "e", 0))
    assert answer["timing_ms"] == {"queue": 1.235, "decode": 2.346, "run": 3.457, "total": 4.568}
    assert answer["age_ms"] == 5.679


def test_a_question_is_answered_with_its_id_its_name_and_the_facts() -> None:
    assert json.loads(messages.report("stats", "q", {"health": "ok"})) == {
        "v": 1,
        "id": "q",
        "status": "ok",
        "op": "stats",
        "health": "ok",
    }


def test_results_are_published_under_the_name_of_their_source() -> None:
    assert messages.topic("gate") == b"result.gate"


def test_a_clock_says_how_old_a_picture_is_unless_it_is_ahead() -> None:
    assert [messages.believe(behind_s) for behind_s in (2.5, 0.0, -3.0)] == [2.5, 0.0, 0.0]
