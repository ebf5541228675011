"""Who the doorkeeper lets in, and whom it hangs up on: real sockets, and a clock that the test holds."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import zmq

from incv3d.protocol.curve_keys import new_pair
from incv3d.transports.zeromq.zap import ZapAuthenticator
from zap_clients import CountingRing


def test_a_known_key_is_let_in_by_its_name_and_an_unknown_one_is_not(
    keeper: ZapAuthenticator, ring: CountingRing, question
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.check()
    known, unknown = question(key), question(new_pair().public)
    keeper.decide()
    assert known.recv_multipart() == [b"1.0", b"number", b"200", b"OK", key, b""]
    assert unknown.recv_multipart() == [b"1.0", b"number", b"400", b"unknown key", b"", b""]
    assert keeper.status() == {"clients": 1, "turned_away": 1}


def test_a_known_key_as_the_name_in_a_password_is_not_let_in(
    keeper: ZapAuthenticator, ring: CountingRing, question
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.check()
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
        return [message for message in caplog.messages if "rejected" in message]

    assert told(0.0) == ["rejected a client at 10.0.0.7: its key is unknown (1 so far)"]
    assert told(1.0) == [] == told(59.9)
    assert told(60.0, b"") == ["rejected a client at this machine: its key is unknown (4 so far)"]
    assert told(119.9) == []


def test_who_has_a_key_before_the_door_opens_is_let_in_at_once(
    context: zmq.Context, ring: CountingRing, question, caplog
) -> None:
    caplog.set_level(logging.INFO)
    key = ring.let_in("gate").pair.public
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    assert caplog.messages == ["clients added: gate"]
    asked = question(key)
    keeper.decide()
    assert asked.recv_multipart()[2] == b"200"
    keeper.close()


def test_a_door_without_clients_says_how_to_add_one(context: zmq.Context, ring: CountingRing, caplog) -> None:
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    assert caplog.messages == ["no client has a key yet, so no client can connect: incv3d keys add CLIENT"]
    keeper.close()
    assert keeper.socket.closed


def test_files_are_read_when_they_changed_and_once_more_a_second_later(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace
) -> None:
    def reads(now: float) -> int:
        clock.now, ring.reads = now, 0
        assert not keeper.check(), "nobody was revoked"
        return ring.reads

    assert [reads(now) for now in (0.0, 0.5, 0.99, 1.0, 1.01, 3.0, 100.0)] == [0, 0, 0, 1, 0, 0, 0]
    ring.let_in("gate")
    assert [reads(now) for now in (200.0, 200.5, 201.0, 201.5, 300.0)] == [1, 0, 1, 0, 0]


def test_who_is_revoked_is_gone_at_the_next_look_which_says_so(
    keeper: ZapAuthenticator, ring: CountingRing, caplog
) -> None:
    caplog.set_level(logging.INFO)
    key = ring.let_in("gate").pair.public
    assert not keeper.check() and keeper.is_authorized(key)
    ring.revoke("gate")
    assert keeper.check() and not keeper.is_authorized(key)
    assert caplog.messages == ["clients added: gate", "clients revoked: gate"]


def test_a_file_that_was_written_over_is_read_when_that_is_asked_for(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace
) -> None:
    old, new = ring.let_in("gate").pair.public, new_pair().public
    keeper.check()
    clock.now = 10.0
    keeper.check()
    (ring.folder / "clients/gate.key").write_text(f'public-key = "{new.decode()}"\n')
    assert not keeper.check() and keeper.is_authorized(old)
    keeper.reread()
    assert keeper.check()
    assert keeper.is_authorized(new) and not keeper.is_authorized(old)


def test_while_the_keys_cannot_be_read_the_clients_stay_and_the_log_says_it_once(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace, caplog
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.check()
    ring.broken = True
    said = "the disk is gone; the clients stay as they were"
    for _ in range(2):
        caplog.clear()
        for _ in range(3):
            clock.now += 100
            keeper.reread()
            assert not keeper.check() and keeper.is_authorized(key)
        assert caplog.messages == [said]
        ring.broken = False
        keeper.reread()
        assert not keeper.check()
        ring.broken = True


def test_keys_that_cannot_be_read_at_first_are_told_of_too(
    context: zmq.Context, ring: CountingRing, caplog
) -> None:
    ring.broken = True
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    assert "the disk is gone; the clients stay as they were" in caplog.messages
    keeper.close()


def test_a_client_that_was_revoked_while_the_keys_could_not_be_read_is_gone_once_they_can(
    keeper: ZapAuthenticator, ring: CountingRing, clock: SimpleNamespace
) -> None:
    key = ring.let_in("gate").pair.public
    keeper.check()
    ring.revoke("gate")
    ring.broken = True
    for now in (10.0, 11.0, 12.0, 60.0):
        clock.now = now
        assert not keeper.check() and keeper.is_authorized(key)
    reads = ring.reads
    assert not keeper.check() and ring.reads == reads, "once a second is enough"
    ring.broken = False
    clock.now = 61.0
    assert keeper.check() and not keeper.is_authorized(key)
