"""Clients that are added and revoked while the daemon runs, over real connections."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
import zmq

from doubles import jpeg
from incv3d.client import Client, NoAnswer, NoEntry
from incv3d.protocol.curve_keys import ClientKey, new_pair, read_client_key
from keyed_daemon import (
    PING,
    SILENCE_MS,
    ask_in_vain,
    assert_it_serves,
    wait_subscribed,
    write_key,
)
from processes import PATIENCE_S
from waiting import until


def test_a_client_that_is_added_comes_in_without_a_restart(keyed) -> None:
    door = keyed()
    assert any("no client has a key yet" in line for line in door.daemon.said)
    for name in ("gate", "shed", "barn"):  # one right after the other, within a tick of the file's clock
        assert_it_serves(door, door.key(name))
    door.daemon.wait_for("clients added: barn")


def test_a_client_that_was_turned_away_comes_in_once_it_is_added(keyed, tmp_path) -> None:
    door = keyed()
    pair = new_pair()
    file = write_key(tmp_path / "own.key", ClientKey(pair, door.ring.server_public()))
    with Client(door.address, PATIENCE_S, key=file) as client:
        with pytest.raises(NoEntry):
            client.ask("ping")
        door.ring.add("own", pair.public.decode())
        assert client.ask("ping")["state"] == "ready"


def test_who_is_revoked_while_connected_is_cut_off_and_the_others_are_not(keyed, connect) -> None:
    door = keyed()
    gate, shed = door.key("gate"), door.key("shed")
    subscribers = [connect(zmq.SUB, door.results, read_client_key(key)) for key in (gate, shed)]
    idle = connect(zmq.DEALER, door.address, read_client_key(shed))
    idle.send(PING)
    idle.recv()
    with (
        Client(door.address, PATIENCE_S, key=gate) as friend,
        Client(door.address, PATIENCE_S, key=shed) as revoked,
    ):
        assert revoked.classify(jpeg()).status == "ok"
        for subscriber in subscribers:
            wait_subscribed(door, subscriber, friend)
        door.ring.revoke("shed")
        door.daemon.wait_for("clients revoked: shed")
        with pytest.raises((NoEntry, NoAnswer), match=r"does not know this key|connection was lost"):
            revoked.classify(jpeg())
        with pytest.raises(NoEntry, match="does not know this key"):
            revoked.classify(jpeg())
        ask_in_vain(idle)
        wait_subscribed(door, subscribers[0], friend)
        while subscribers[1].poll(0):
            subscribers[1].recv_multipart()  # what came before it was revoked
        for _ in range(10):
            assert friend.classify(jpeg()).status == "ok"
        assert subscribers[0].poll(PATIENCE_S * 1000)
        assert not subscribers[1].poll(SILENCE_MS), "a revoked subscriber got a result"
        assert not idle.poll(0), "a revoked client got an answer"
        assert friend.ask("stats")["unanswered"] == 0


def test_an_answer_under_way_does_not_reach_who_was_revoked_meanwhile(keyed, connect) -> None:
    door = keyed(run_ms=4000)
    gate, shed = door.key("gate"), door.key("shed")
    dealer = connect(zmq.DEALER, door.address, read_client_key(shed))
    dealer.send(PING)
    dealer.recv()
    with Client(door.address, PATIENCE_S, key=gate) as friend:
        friend.ask("ping")
        dealer.send(jpeg())
        until(lambda: friend.ask("stats")["unanswered"] == 1, "the request was there")
        door.ring.revoke("shed")
        door.daemon.wait_for("clients revoked: shed")
        until(lambda: friend.ask("stats")["unanswered"] == 0, "the run was over")
        assert friend.ask("stats")["outcomes"]["ok"] == 1
        assert not dealer.poll(SILENCE_MS)


def test_a_client_waiting_for_its_answer_is_told_that_it_was_revoked(keyed) -> None:
    door = keyed(run_ms=40_000)
    shed = door.key("shed")
    errors: list[Exception] = []

    def wait() -> None:
        with Client(door.address, PATIENCE_S, retries=1, key=shed) as client:
            try:
                client.classify(jpeg())
            except NoEntry as error:
                errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    door.daemon.wait_for("clients added: shed")
    gate = door.key("gate")
    with Client(door.address, PATIENCE_S, key=gate) as friend:
        until(lambda: friend.ask("stats")["unanswered"] == 1, "the request was there")
    door.ring.revoke("shed")
    waiting.join()
    assert errors and "does not know this key" in str(errors[0])


def test_a_name_that_was_revoked_and_given_again_does_not_let_its_old_key_in(keyed) -> None:
    door = keyed()
    old = door.key("gate")
    with Client(door.address, PATIENCE_S, key=old) as client:
        assert client.ask("ping")
        door.ring.revoke("gate")
        door.ring.issue("gate", door.folder / "new.key")
        with pytest.raises((NoAnswer, NoEntry)):
            client.ask("ping")
        with pytest.raises(NoEntry):
            client.ask("ping")
    assert_it_serves(door, door.folder / "new.key")


def test_sighup_reads_files_that_were_written_over_in_their_place(keyed, tmp_path) -> None:
    door = keyed()
    old = door.key("gate")
    assert_it_serves(door, old)
    pair = new_pair()
    time.sleep(1.5)  # the second look after a change is over
    (door.ring.folder / "clients/gate.key").write_text(f'public-key = "{pair.public.decode()}"\n')
    door.daemon.signal(signal.SIGHUP)
    door.daemon.wait_for("clients revoked: gate")
    new = write_key(tmp_path / "new.key", ClientKey(pair, read_client_key(old).server))
    assert_it_serves(door, new)
    with Client(door.address, PATIENCE_S, key=old) as client, pytest.raises(NoEntry):
        client.ask("ping")


def test_keys_that_cannot_be_read_any_more_change_nothing(keyed) -> None:
    door = keyed()
    gate = door.key("gate")
    assert_it_serves(door, gate)
    clients = door.ring.folder / "clients"
    clients.rename(door.folder / "aside")
    clients.write_text("not a folder")
    door.daemon.wait_for("the clients stay as they were")
    assert_it_serves(door, gate)
    clients.unlink()
    door.daemon.wait_for("clients revoked: gate")
    with Client(door.address, PATIENCE_S, key=gate) as client, pytest.raises(NoEntry):
        client.ask("ping")
    (door.folder / "aside").rename(clients)
    assert_it_serves(door, gate)


def test_on_all_addresses_the_results_come_back_after_somebody_was_revoked(keyed, connect) -> None:
    door = keyed(host="*")
    gate = door.key("gate")
    subscriber = connect(zmq.SUB, door.results, read_client_key(gate))
    with Client(door.address, PATIENCE_S, key=gate) as client:
        for number in range(5):
            wait_subscribed(door, subscriber, client)
            door.key(f"guest{number}")
            door.daemon.wait_for(f"clients added: guest{number}")
            door.ring.revoke(f"guest{number}")
            door.daemon.wait_for(f"clients revoked: guest{number}")
        wait_subscribed(door, subscriber, client)
        assert client.ask("stats")["health"] == "ok"


def test_strangers_who_come_and_go_leave_nothing_behind(keyed, connect) -> None:
    door = keyed()
    gate = door.key("gate")
    assert_it_serves(door, gate)
    fds = Path(f"/proc/{door.daemon.process.pid}/fd")
    before = len(list(fds.iterdir()))
    unknown = ClientKey(new_pair(), read_client_key(gate).server)
    with zmq.Context() as context:
        for number in range(300):
            with context.socket(zmq.DEALER) as dealer:
                dealer.set(zmq.LINGER, 0)
                if number % 2:
                    unknown.lock(dealer)
                monitor = dealer.get_monitor_socket(zmq.Event.DISCONNECTED)
                dealer.connect(door.address)
                assert monitor.poll(PATIENCE_S * 1000), "a stranger was not hung up on"
                dealer.disable_monitor()
                monitor.close()
    assert_it_serves(door, gate)
    until(lambda: len(list(fds.iterdir())) <= before, "the descriptors were given back")
    told = [line for line in door.daemon.said if "rejected a client at 127.0.0.1" in line]
    assert door.daemon.stop() == 0
    told += [line for line in door.daemon.said if "rejected a client at 127.0.0.1" in line]
    assert len(set(told)) == 1, "the log is filled by strangers"
