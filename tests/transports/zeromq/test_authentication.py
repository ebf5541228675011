"""The real daemon behind CURVE keys: who is let in, who is not, and what each is told."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import zmq

from doubles import jpeg
from incv3d.client import Client, NoAnswer, NoEntry, results
from incv3d.protocol.curve_keys import ClientKey, KeyPair, new_pair, read_client_key
from keyed_daemon import (
    SILENCE_MS,
    KeyedDoor,
    ask_in_vain,
    assert_it_serves,
    free_port,
    wait_subscribed,
    write_key,
)
from processes import PATIENCE_S, ScriptedDaemon


def strangers(door: KeyedDoor, gate: Path) -> dict[str, ClientKey | None]:
    """Everybody who is to get nothing."""
    known = read_client_key(gate)
    revoked = door.key("revoked")
    door.ring.revoke("revoked")
    return {
        "no key": None,
        "an unknown key": ClientKey(new_pair(), known.server),
        "a known key and the wrong server's": ClientKey(known.pair, new_pair().public),
        "a revoked key": read_client_key(revoked),
        "the server's own key": ClientKey(door.ring.server(), known.server),
    }


def test_who_has_a_key_is_answered_and_gets_the_results(keyed, connect) -> None:
    door = keyed()
    gate = door.key("gate")
    subscriber = connect(zmq.SUB, door.results, read_client_key(gate))
    with Client(door.address, PATIENCE_S, key=gate) as client:
        wait_subscribed(door, subscriber, client)
        client.classify(jpeg())
        topic, body = subscriber.recv_multipart()
        assert topic == b"result.zmq" and json.loads(body)["status"] == "ok"
        assert client.ask("stats")["keys"] == {"clients": 1, "turned_away": 0}


def test_ten_lines_of_pyzmq_with_a_key_get_a_label(keyed, tmp_path) -> None:
    keyed_door = keyed()
    keyed_door.key("gate")
    address, key_file, picture = keyed_door.address, keyed_door.folder / "gate.key", tmp_path / "cat.jpg"
    picture.write_bytes(jpeg())

    keys = dict(re.findall(r'(\w+)-key = "(.+)"', key_file.read_text()))
    door = zmq.Context().socket(zmq.REQ)
    door.curve_publickey = keys["public"].encode()
    door.curve_secretkey = keys["secret"].encode()
    door.curve_serverkey = keys["server"].encode()
    door.connect(address)
    door.send(picture.read_bytes())
    answer = json.loads(door.recv())
    door.context.destroy(linger=0)
    assert answer["predictions"][0]["label"] == "label 1", answer


def test_strangers_get_no_answer_and_no_result(keyed, connect) -> None:
    door = keyed()
    gate = door.key("gate")
    sockets = []
    for who, key in strangers(door, gate).items():
        dealer, subscriber = connect(zmq.DEALER, door.address, key), connect(zmq.SUB, door.results, key)
        ask_in_vain(dealer)
        sockets += [(who, dealer), (who, subscriber)]
    friend = connect(zmq.SUB, door.results, read_client_key(gate))
    with Client(door.address, PATIENCE_S, key=gate) as client:
        wait_subscribed(door, friend, client)
        for _ in range(20):
            client.classify(jpeg())
        assert friend.poll(PATIENCE_S * 1000)
        poller = zmq.Poller()
        for _, each in sockets:
            poller.register(each, zmq.POLLIN)
        heard = dict(poller.poll(SILENCE_MS))
        assert not [who for who, each in sockets if each in heard]
        assert client.ask("stats")["peers"]["seen"] == 1, "a stranger's request came through"
        assert client.ask("stats")["keys"]["turned_away"] >= 3


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("no key", "the daemon requires a key: --key FILE"),
        ("an unknown key", "the daemon does not know this key"),
        ("a revoked key", "the daemon does not know this key"),
        ("a known key and the wrong server's", "it belongs to another daemon"),
    ],
)
def test_a_stranger_is_told_at_once_what_is_wrong(keyed, tmp_path, who: str, words: str) -> None:
    door = keyed()
    key = strangers(door, door.key("gate"))[who]
    file = key and write_key(tmp_path / "stranger.key", key)
    started = time.monotonic()
    with Client(door.address, PATIENCE_S, retries=5, key=file) as client:
        for _ in range(2):
            with pytest.raises(NoEntry, match=words):
                client.classify(jpeg())
    with pytest.raises(NoEntry, match=words):
        next(results(door.results, key=file))
    assert time.monotonic() - started < PATIENCE_S / 4, "it waited for its timeout"


def test_a_key_for_a_daemon_without_keys_is_said_so(keyed, tmp_path) -> None:
    key = keyed().key("gate")
    (tmp_path / "plain.yaml").write_text("{}")
    address = f"tcp://127.0.0.1:{free_port()}"
    plain = ScriptedDaemon(tmp_path, tmp_path, str(tmp_path / "plain.yaml"), INCV3D_BIND=address)
    try:
        plain.ready()
        with (
            Client(address, PATIENCE_S, key=key) as client,
            pytest.raises(NoEntry, match=r"without the key|does not use keys"),
        ):
            client.ask("ping")
        with Client(address, PATIENCE_S) as client:
            assert "keys" not in client.ask("stats")
    finally:
        plain.kill()


def test_a_key_for_nobody_is_an_ordinary_silence(tmp_path, keyed) -> None:
    key = keyed().key("gate")
    with (
        Client(f"tcp://127.0.0.1:{free_port()}", 0.5, key=key) as client,
        pytest.raises(NoAnswer, match="nothing listens at that address"),
    ):
        client.ask("ping")


def test_no_key_is_in_the_log(keyed, tmp_path) -> None:
    door = keyed()
    gate = door.key("gate")
    assert_it_serves(door, gate)
    others = [key for key in strangers(door, gate).values() if key]
    for number, key in enumerate(others):
        file = write_key(tmp_path / f"{number}.key", key)
        with Client(door.address, PATIENCE_S, key=file) as client, pytest.raises(NoEntry):
            client.ask("ping")
    assert door.daemon.stop() == 0
    said = "\n".join(door.daemon.said)
    pairs: list[KeyPair] = [door.ring.server(), *(key.pair for key in others)]
    for pair in pairs:
        assert pair.public.decode() not in said and pair.secret.decode() not in said
