"""Who the doorkeeper lets in, and whom it hangs up on: real sockets, and a clock that the test holds."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq
from zmq.utils import z85

from incv3d.protocol.curve_keys import ClientKey, KeyFileError, new_pair
from incv3d.transports.zeromq import zap as module
from incv3d.transports.zeromq.key_store import KeyStore, KnownClient
from incv3d.transports.zeromq.peer_socket import PeerSocket
from incv3d.transports.zeromq.zap import ZapAuthenticator

ZAP = "inproc://zeromq.zap.01"
SOON_MS = 10_000
SILENCE_MS = 200


class CountingRing(KeyStore):
    """A key ring that knows how often its files were read, and can be made unreadable."""

    reads = 0
    broken = False

    def clients(self) -> dict[bytes, KnownClient]:
        self.reads += 1
        if self.broken:
            raise KeyFileError("the disk is gone")
        return super().clients()

    def let_in(self, name: str) -> ClientKey:
        pair = new_pair()
        self.add(name, pair.public.decode())
        return ClientKey(pair, self.server_public())


@pytest.fixture
def ring(tmp_path: Path) -> CountingRing:
    ring = CountingRing(tmp_path / "keys")
    ring.new()
    return ring


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The doorkeeper's time; a machine that has just started counts from 0."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    with zmq.Context() as context:
        context.linger = 0
        yield context


@pytest.fixture
def keeper(context: zmq.Context, ring: CountingRing, clock: SimpleNamespace) -> Iterator[ZapAuthenticator]:
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    yield keeper
    keeper.close()


@pytest.fixture
def question(context: zmq.Context) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """Puts a question as ZeroMQ does (RFC 27); its socket gets the answer."""
    with contextlib.ExitStack() as stack:

        def put(key: bytes, mechanism: bytes = b"CURVE", address: bytes = b"10.0.0.7") -> zmq.Socket[bytes]:
            socket = stack.enter_context(context.socket(zmq.REQ))
            socket.set(zmq.RCVTIMEO, SOON_MS)
            socket.connect(ZAP)
            credentials = [z85.decode(key)] if mechanism == b"CURVE" else [key, b"password"]
            socket.send_multipart([b"1.0", b"number", b"incv3d", address, b"id", mechanism, *credentials])
            return socket

        yield put


@pytest.fixture
def guarded(context: zmq.Context, keeper: ZapAuthenticator) -> Iterator[zmq.Socket[bytes]]:
    with context.socket(zmq.ROUTER) as router:
        keeper.guard(router)
        router.bind("tcp://127.0.0.1:*")
        yield router


@pytest.fixture
def client(context: zmq.Context, guarded: zmq.Socket[bytes]) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """A socket that has sent a message to the guarded one, or tries to."""
    with contextlib.ExitStack() as stack:

        def connect(key: ClientKey | None) -> zmq.Socket[bytes]:
            dealer = stack.enter_context(context.socket(zmq.DEALER))
            if key:
                key.lock(dealer)
            dealer.set(zmq.RECONNECT_IVL, -1)
            dealer.connect(guarded.last_endpoint)
            with contextlib.suppress(zmq.Again):  # a stranger may have been turned away already
                dealer.send(b"hello", zmq.NOBLOCK)
            return dealer

        yield connect


@pytest.fixture
def arrive(keeper: ZapAuthenticator, guarded: zmq.Socket[bytes], client) -> Callable[[ClientKey], Message]:
    """A message from a client with this key, which is let in."""

    def send(key: ClientKey) -> Message:
        keeper.look()
        client(key)
        came = message(keeper, guarded)
        assert came
        return came

    return send


@dataclass(frozen=True)
class Message:
    """A message that came through, and the connection that it came over."""

    peer: bytes
    part: zmq.Frame
    connection: PeerSocket

    def is_connected(self) -> bool:
        try:
            with self.connection.copy() as copy:
                return copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True  # nothing to read, but there may be
        except OSError:
            return False


def message(keeper: ZapAuthenticator, router: zmq.Socket[bytes], wait_ms: int = SOON_MS) -> Message | None:
    """The next message that comes through."""
    end = time.monotonic() + wait_ms / 1000
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(keeper.questions, zmq.POLLIN)
    while (left_s := end - time.monotonic()) > 0:
        ready = dict(poller.poll(left_s * 1000))
        if keeper.questions in ready:
            keeper.decide()
        if router in ready:
            peer, part = router.recv_multipart(copy=False)
            connection = PeerSocket.under(part)
            assert connection
            return Message(peer.bytes, part, connection)
    return None


def test_a_known_key_is_let_in_by_its_name_and_an_unknown_one_is_not(
    keeper: ZapAuthenticator, ring: CountingRing, question
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.look()
    known, unknown = question(key), question(new_pair().public)
    keeper.decide()
    assert known.recv_multipart() == [b"1.0", b"number", b"200", b"OK", key, b""]
    assert unknown.recv_multipart() == [b"1.0", b"number", b"400", b"unknown key", b"", b""]
    assert keeper.status() == {"clients": 1, "turned_away": 1}


def test_a_known_key_as_the_name_in_a_password_is_not_let_in(
    keeper: ZapAuthenticator, ring: CountingRing, question
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.look()
    for mechanism in (b"PLAIN", b"NULL"):
        asked = question(key, mechanism)
        keeper.decide()
        assert asked.recv_multipart()[2] == b"400"
    assert keeper.status()["turned_away"] == 2


def test_without_questions_there_is_nothing_to_decide(keeper: ZapAuthenticator) -> None:
    keeper.decide()
    assert keeper.status() == {"clients": 0, "turned_away": 0}


def test_of_a_flood_of_strangers_sixteen_are_decided_before_others_have_their_turn(
    keeper: ZapAuthenticator, question
) -> None:
    sockets = [question(new_pair().public) for _ in range(20)]
    keeper.decide()
    assert keeper.status()["turned_away"] == 16
    keeper.decide()
    assert keeper.status()["turned_away"] == 20
    assert all(socket.recv_multipart()[2] == b"400" for socket in sockets)


def test_the_log_tells_of_the_first_stranger_and_once_a_minute_of_how_many_came(
    keeper: ZapAuthenticator, question, clock: SimpleNamespace, caplog
) -> None:
    def told(now: float, address: bytes = b"10.0.0.7") -> list[str]:
        clock.now = now
        caplog.clear()
        asked = question(new_pair().public, address=address)
        keeper.decide()
        asked.recv_multipart()
        return [message for message in caplog.messages if "turned away" in message]

    assert told(0.0) == ["turned away a client at 10.0.0.7: its key is not known (1 so far)"]
    assert told(1.0) == [] == told(59.9)
    assert told(60.0, b"") == ["turned away a client at this machine: its key is not known (4 so far)"]
    assert told(119.9) == []


def test_who_has_a_key_before_the_door_opens_is_let_in_at_once(
    context: zmq.Context, ring: CountingRing, question, caplog
) -> None:
    caplog.set_level(logging.INFO)
    key = ring.let_in("gate").pair.public
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    assert caplog.messages == ["clients let in from now on: gate"]
    asked = question(key)
    keeper.decide()
    assert asked.recv_multipart()[2] == b"200"
    keeper.close()


def test_a_door_without_clients_says_how_to_add_one(context: zmq.Context, ring: CountingRing, caplog) -> None:
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    assert caplog.messages == ["no client has a key yet, so nobody can connect: incv3d keys add CLIENT"]
    keeper.close()
    assert keeper.questions.closed


def test_files_are_read_when_they_changed_and_once_more_a_second_later(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace
) -> None:
    def reads(now: float) -> int:
        clock.now, ring.reads = now, 0
        assert not keeper.look(), "nobody was revoked"
        return ring.reads

    assert [reads(now) for now in (0.0, 0.5, 0.99, 1.0, 1.01, 3.0, 100.0)] == [0, 0, 0, 1, 0, 0, 0]
    ring.let_in("gate")
    assert [reads(now) for now in (200.0, 200.5, 201.0, 201.5, 300.0)] == [1, 0, 1, 0, 0]


def test_who_is_revoked_is_gone_at_the_next_look_which_says_so(
    keeper: ZapAuthenticator, ring: CountingRing, caplog
) -> None:
    caplog.set_level(logging.INFO)
    key = ring.let_in("gate").pair.public
    assert not keeper.look() and keeper.knows(key)
    ring.revoke("gate")
    assert keeper.look() and not keeper.knows(key)
    assert caplog.messages == ["clients let in from now on: gate", "clients let in no more: gate"]


def test_a_file_that_was_written_over_is_read_when_that_is_asked_for(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace
) -> None:
    old, new = ring.let_in("gate").pair.public, new_pair().public
    keeper.look()
    clock.now = 10.0
    keeper.look()
    (ring.folder / "clients/gate.key").write_text(f'public-key = "{new.decode()}"\n')
    assert not keeper.look() and keeper.knows(old)
    keeper.reread()
    assert keeper.look()
    assert keeper.knows(new) and not keeper.knows(old)


def test_while_the_keys_cannot_be_read_the_clients_stay_and_the_log_says_it_once(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace, caplog
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.look()
    ring.broken = True
    said = "the disk is gone; the clients stay those that they were"
    for _ in range(2):
        caplog.clear()
        for _ in range(3):
            clock.now += 100
            keeper.reread()
            assert not keeper.look() and keeper.knows(key)
        assert caplog.messages == [said]
        ring.broken = False
        keeper.reread()
        assert not keeper.look()
        ring.broken = True


def test_keys_that_cannot_be_read_at_first_are_told_of_too(
    context: zmq.Context, ring: CountingRing, caplog
) -> None:
    ring.broken = True
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    assert "the disk is gone; the clients stay those that they were" in caplog.messages
    keeper.close()


def test_a_client_that_was_revoked_while_the_keys_could_not_be_read_is_gone_once_they_can(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.look()
    ring.revoke("gate")
    ring.broken = True
    for now in (10.0, 11.0, 12.0, 60.0):
        clock.now = now
        assert not keeper.look() and keeper.knows(key)
    reads = ring.reads
    assert not keeper.look() and ring.reads == reads, "once a second is enough"
    ring.broken = False
    clock.now = 61.0
    assert keeper.look() and not keeper.knows(key)


def test_clients_get_through_and_strangers_do_not(
    keeper: ZapAuthenticator, ring: CountingRing, guarded: zmq.Socket[bytes], client
) -> None:
    gate = ring.let_in("gate")
    keeper.look()
    for stranger in (None, ClientKey(new_pair(), gate.server), ClientKey(gate.pair, new_pair().public)):
        client(stranger)
    assert not message(keeper, guarded, SILENCE_MS)
    dealer = client(gate)
    came = message(keeper, guarded)
    assert came and came.part.bytes == b"hello"
    assert keeper.admit(came.peer, came.part) == gate.pair.public
    guarded.send_multipart([came.peer, b"welcome"])
    assert dealer.poll(SOON_MS) and dealer.recv() == b"welcome"


def test_a_door_whose_keeper_is_away_lets_nobody_in(
    context: zmq.Context, ring: CountingRing, clock: SimpleNamespace
) -> None:
    gate = ring.let_in("gate")
    keeper = ZapAuthenticator(context, ring)
    with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        keeper.guard(router)
        keeper.close()
        router.bind("tcp://127.0.0.1:*")
        gate.lock(dealer)
        dealer.connect(router.last_endpoint)
        dealer.send(b"hello")
        assert not router.poll(SILENCE_MS)


def test_who_is_revoked_is_hung_up_on_and_the_others_are_not(
    keeper: ZapAuthenticator, ring: CountingRing, arrive
) -> None:
    gate, shed = (arrive(ring.let_in(name)) for name in ("gate", "shed"))
    for each in (gate, shed, gate, shed):
        assert keeper.admit(each.peer, each.part)
    ring.revoke("shed")
    assert keeper.look()
    assert gate.is_connected() and not shed.is_connected()


def test_a_message_that_was_under_way_when_its_sender_was_revoked_gets_nothing(
    keeper: ZapAuthenticator, ring: CountingRing, arrive
) -> None:
    came = arrive(ring.let_in("gate"))
    ring.revoke("gate")
    keeper.look()
    assert keeper.admit(came.peer, came.part) is None
    assert not came.is_connected()


def test_a_client_that_connects_anew_under_its_old_name_is_hung_up_on_there(
    keeper: ZapAuthenticator, ring: CountingRing, arrive
) -> None:
    key = ring.let_in("gate")
    old, new = arrive(key), arrive(key)
    for each in (old, new):
        assert keeper.admit(b"camera", each.part) == key.pair.public
    ring.revoke("gate")
    keeper.look()
    assert not new.is_connected()


def test_a_connection_that_is_gone_already_costs_nothing_when_its_client_is_revoked(
    keeper: ZapAuthenticator, ring: CountingRing, guarded: zmq.Socket[bytes], client
) -> None:
    key = ring.let_in("gate")
    keeper.look()
    dealer = client(key)
    came = message(keeper, guarded)
    assert came
    dealer.close(0)
    while PeerSocket.under(came.part):
        guarded.poll(1)
    assert keeper.admit(came.peer, came.part) == key.pair.public
    ring.revoke("gate")
    assert keeper.look()


@pytest.mark.parametrize(("others", "is_remembered"), [(1023, True), (1024, False)])
def test_the_latest_1024_connections_are_remembered(
    keeper: ZapAuthenticator, ring: CountingRing, arrive, others: int, is_remembered: bool
) -> None:
    first, other = (arrive(ring.let_in(name)) for name in ("gate", "shed"))
    keeper.admit(b"first", first.part)
    for number in range(others):
        keeper.admit(b"%d" % number, other.part)
    ring.revoke("gate")
    keeper.look()
    assert first.is_connected() != is_remembered
