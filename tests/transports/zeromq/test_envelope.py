"""Which parts of a request route its answer, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import zmq

from incv3d.transports.zeromq.envelope import envelope_length, next_message

SOON_MS = 10_000
Exchange = Callable[..., tuple[list[bytes], int, int]]


@pytest.fixture
def router() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        router.bind("inproc://door")
        yield router


@pytest.fixture
def dealer(router: zmq.Socket[bytes]) -> Iterator[zmq.Socket[bytes]]:
    with router.context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.RCVTIMEO, SOON_MS)
        dealer.set(zmq.ROUTING_ID, b"camera")
        dealer.connect("inproc://door")
        yield dealer


@pytest.fixture
def split(router: zmq.Socket[bytes], dealer: zmq.Socket[bytes]) -> Callable[..., tuple[list[bytes], int]]:
    """Sends a message, and tells its envelope without the sender's own name, and how many parts follow."""

    def send(*parts: bytes) -> tuple[list[bytes], int]:
        dealer.send_multipart(list(parts))
        assert router.poll(SOON_MS)
        received, count = next_message(router)
        length = envelope_length(received, count)
        envelope = [part.bytes for part in received[:length]]
        assert count == 1 + len(parts) and envelope[0] == b"camera"
        return envelope[1:], count - length

    return send


def test_without_a_message_there_is_nothing_to_read(router: zmq.Socket[bytes]) -> None:
    with pytest.raises(zmq.Again):
        next_message(router)


def test_messages_are_read_one_at_a_time_with_all_their_parts(
    router: zmq.Socket[bytes], dealer: zmq.Socket[bytes]
) -> None:
    for parts in ([b"a"], [b"b", b"c"]):
        dealer.send_multipart(parts)
    for expected in ([b"camera", b"a"], [b"camera", b"b", b"c"]):
        assert router.poll(SOON_MS)
        parts, count = next_message(router)
        assert ([part.bytes for part in parts], count) == (expected, len(expected))


@pytest.mark.parametrize(("sent", "kept"), [(62, 63), (63, 64), (64, 64), (200, 64)])
def test_of_a_message_of_very_many_parts_the_first_64_are_kept_and_all_are_counted(
    router: zmq.Socket[bytes], dealer: zmq.Socket[bytes], sent: int, kept: int
) -> None:
    dealer.send_multipart([b"%d" % number for number in range(sent)])
    dealer.send(b"the next")
    assert router.poll(SOON_MS)
    parts, count = next_message(router)
    assert [part.bytes for part in parts] == [b"camera", *(b"%d" % number for number in range(kept - 1))]
    assert count == sent + 1
    assert next_message(router)[0][1].bytes == b"the next"


@pytest.mark.parametrize(
    ("envelope", "request_"),
    [
        pytest.param([], [b"picture"], id="a dealer"),
        pytest.param([], [b"header", b"picture"], id="a dealer with a header"),
        pytest.param([], [b""], id="an empty picture"),
        pytest.param([], [b"header", b""], id="an empty picture with a header"),
        pytest.param([], [b"a", b"b", b"c"], id="a dealer with a part too many"),
        pytest.param([b""], [b"picture"], id="a req"),
        pytest.param([b""], [b""], id="a req with an empty picture"),
        pytest.param([b""], [b"header", b""], id="a req with an empty picture and a header"),
        pytest.param([b"1234", b""], [b"header", b"picture"], id="a req with request ids"),
        pytest.param([b"gate", b"\0abcd", b"1234", b""], [b"picture"], id="a req behind proxies"),
        pytest.param([b"\0abcd"], [b"header", b"picture"], id="a dealer behind a proxy"),
        pytest.param([b"\0abcd", b"\0efgh", b"\0ijkl"], [b"picture"], id="a dealer behind proxies"),
        pytest.param([b"\0abcd"], [b"\0\0\0\0\0"], id="a picture like a routing id"),
        pytest.param([], [b"\0abc", b"picture"], id="a header shorter than a routing id"),
        pytest.param([], [b"\0abcde", b"picture"], id="a header longer than a routing id"),
        pytest.param([], [b'{"v":', b"picture"], id="a header as long as a routing id"),
        pytest.param([], [b"a\0bcd", b"picture"], id="a header with a zero in it"),
        pytest.param([], [b"abcd\0", b"picture"], id="a header with a zero at its end"),
        pytest.param([b"\0\1\1\1\1"], [b"picture"], id="a routing id with one zero"),
        pytest.param([b"x" * 255, b""], [b"picture"], id="the longest routing id"),
        pytest.param([], [b"x" * 256, b"", b"picture"], id="a header before an empty part"),
        pytest.param([], [b"a", b"x" * 256, b"", b"picture"], id="a header after a short part"),
        pytest.param([b"%d" % each for each in range(61)] + [b""], [b"picture"], id="sixty proxies"),
    ],
)
def test_an_envelope_ends_where_the_request_begins(
    split, envelope: list[bytes], request_: list[bytes]
) -> None:
    assert split(*envelope, *request_) == (envelope, len(request_))


def test_an_envelope_beyond_the_parts_that_are_kept_is_none(split) -> None:
    names = [b"%d" % each for each in range(63)]
    assert split(*names, b"", b"picture") == ([], 65)
    assert split(*names[:62], b"", b"picture") == ([*names[:62], b""], 1)
    assert split(*[b"\0abcd"] * 70, b"picture") == ([b"\0abcd"] * 63, 8)
