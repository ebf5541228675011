"""Peers that speak ZMTP 1 or 2, as programs from before 2013 do, and any bytes that look like it."""

from __future__ import annotations

import json
import socket

import pytest

OLD = {
    # The length of each frame, its flags (1: another one follows), and what is in it; first the peer's name.
    "ZMTP 1": b"\x01\x00" + b"\x01\x01" + b"\x06\x00hello",
    # A signature, the revision and the type of the socket (DEALER); then flags before lengths.
    "ZMTP 2": b"\xff" + b"\0" * 8 + b"\x7f\x01\x05" + b"\x00\x00" + b"\x01\x00" + b"\x00\x05hello",
}


@pytest.mark.parametrize("said", OLD.values(), ids=OLD)
def test_a_peer_with_an_old_protocol_is_answered_and_costs_nobody_else_anything(open_door, said) -> None:
    door = open_door()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(door.section.bind.removeprefix("ipc://"))
        peer.sendall(said)
        heard = b""
        while b"}" not in heard:
            more = peer.recv(1000)
            assert more, heard
            heard += more
    answer = json.loads(heard[heard.index(b"{") :])
    assert answer["code"] == "bad_image"
    assert door.deaths.empty()
