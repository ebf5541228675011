"""Connections of clients that are authenticated, unknown or revoked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import zmq

from incv3d.protocol.curve_keys import ClientKey, new_pair
from incv3d.transports.zeromq.peer_socket import PeerSocket
from incv3d.transports.zeromq.zap import ZapAuthenticator
from zap_clients import SILENCE_MS, SOON_MS, CountingRing, message


def test_clients_get_through_and_strangers_do_not(
    keeper: ZapAuthenticator, ring: CountingRing, guarded: zmq.Socket[bytes], client
) -> None:
    gate = ring.let_in("gate")
    keeper.check()
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
    assert keeper.check()
    assert gate.is_connected() and not shed.is_connected()


def test_a_message_that_was_under_way_when_its_sender_was_revoked_gets_nothing(
    keeper: ZapAuthenticator, ring: CountingRing, arrive
) -> None:
    came = arrive(ring.let_in("gate"))
    ring.revoke("gate")
    keeper.check()
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
    keeper.check()
    assert not new.is_connected()


def test_a_connection_that_is_gone_already_costs_nothing_when_its_client_is_revoked(
    keeper: ZapAuthenticator, ring: CountingRing, guarded: zmq.Socket[bytes], client
) -> None:
    key = ring.let_in("gate")
    keeper.check()
    dealer = client(key)
    came = message(keeper, guarded)
    assert came
    dealer.close(0)
    while PeerSocket.under(came.part):
        guarded.poll(1)
    assert keeper.admit(came.peer, came.part) == key.pair.public
    ring.revoke("gate")
    assert keeper.check()


@pytest.mark.parametrize(("others", "is_remembered"), [(1023, True), (1024, False)])
def test_the_latest_1024_connections_are_remembered(
    keeper: ZapAuthenticator, ring: CountingRing, arrive, others: int, is_remembered: bool
) -> None:
    first, other = (arrive(ring.let_in(name)) for name in ("gate", "shed"))
    keeper.admit(b"first", first.part)
    for number in range(others):
        keeper.admit(b"%d" % number, other.part)
    ring.revoke("gate")
    keeper.check()
    assert first.is_connected() != is_remembered
