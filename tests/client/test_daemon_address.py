"""Addresses as people type them."""

from __future__ import annotations

import socket

import pytest
import zmq

from doubles import jpeg
from incv3d.client import Client, ClientError, results
from incv3d.client.daemon_address import connect_address, is_ipv6
from incv3d.config.address import Address


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("127.0.0.1", "tcp://127.0.0.1:5555"),
        ("localhost", "tcp://localhost:5555"),
        ("localhost:7000", "tcp://localhost:7000"),
        ("pi.local", "tcp://pi.local:5555"),
        ("greenhouse:7000", "tcp://greenhouse:7000"),
        ("tcp://greenhouse", "tcp://greenhouse:5555"),
        (" TCP://Pi.local/ ", "tcp://Pi.local:5555"),
        ("::1", "tcp://[::1]:5555"),
        ("[::1]", "tcp://[::1]:5555"),
        ("[::1]:7000", "tcp://[::1]:7000"),
        ("tcp://[fe80::1%eth0]:7000", "tcp://[fe80::1%eth0]:7000"),
        ("tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555"),
        ("ipc:///run/incv3d/door", "ipc:///run/incv3d/door"),
        ("tcp://10.0.0.2:0;10.0.0.5:5555", "tcp://10.0.0.2:0;10.0.0.5:5555"),
    ],
)
def test_what_people_type_is_an_address(typed: str, address: str) -> None:
    assert connect_address(typed, 5555) == address


def test_results_have_a_port_of_their_own() -> None:
    assert connect_address("10.0.0.5", 5556) == "tcp://10.0.0.5:5556"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "not an address such as pi.local"),
        ("tcp://", "not an address such as"),
        ("tcp://*:5555", "`*` is for servers"),
        ("*", "`*` is for servers"),
        ("nonsense", "the host name is unknown"),
        ("http://pi:8080", "http is not supported; use tcp://HOST:5555"),
        ("pi.local:door", "`door` is not a port"),
        ("pi.local:70000", "`70000` is not a port"),
        ("[::1", "not an address such as"),
        ("a b", "not an address such as"),
        ("me@pi.local", "not an address such as"),
        ("tcp:10.0.0.5:5555", "not an address such as"),
        ("tcp:/10.0.0.5:5555", "not an address such as"),
        ("10.0.0.5:5555:5556", "not an address such as"),
        ("10.0.0.5,5555", "not an address such as"),
    ],
)
def test_what_is_not_an_address_is_said_at_once_with_what_would_be(typed: str, words: str) -> None:
    with pytest.raises(ClientError) as caught:
        Client(typed)
    shown = Address(typed) if typed.strip() else "(empty)"
    assert str(caught.value).startswith(f"{shown}: cannot connect: ") and words in str(caught.value)
    with pytest.raises(ClientError):
        next(results(typed))


def test_ipv6_alone_is_told_to_zeromq() -> None:
    assert is_ipv6("tcp://[::1]:5555") and not is_ipv6("tcp://127.0.0.1:5555")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_client_finds_its_daemon_by_host_and_port(host: str) -> None:
    is_six = ":" in host
    try:
        with socket.create_server((host, 0), family=socket.AF_INET6 if is_six else socket.AF_INET) as free:
            port = free.getsockname()[1]
    except OSError:
        pytest.skip("there is no IPv6 here")
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        router.set(zmq.IPV6, is_six)
        router.bind(f"tcp://{f'[{host}]' if is_six else host}:{port}")
        with Client(f"[{host}]:{port}" if is_six else f"{host}:{port}", timeout_s=1.0) as client:
            with pytest.raises(ClientError, match="no answer"):
                client.classify(jpeg())
            assert router.poll(1000)


def test_the_port_of_the_results_is_not_taken_for_one_where_nothing_listens() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        with (
            Client(f"127.0.0.1:{port}", timeout_s=1.0) as client,
            pytest.raises(ClientError, match="the server is not an incv3d daemon"),
        ):
            client.ask("ping")


def test_its_messages_name_the_whole_address() -> None:
    with Client("127.0.0.1:1", timeout_s=0.05) as client, pytest.raises(ClientError) as caught:
        client.ask("ping")
    assert "no answer from tcp://127.0.0.1:1 within" in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        "me:hunter2@host",
        "me:hunter2@host:5555",
        "tcp://me:hunter2@host:5555",
        "tcp://eth0:1;me:hunter2@host:5555",
        "http://me:hunter2@host",
        "hunter2@host",
        "me:hunter2@[fd00::5]:x",
    ],
)
def test_no_error_repeats_a_password_that_was_typed_in_an_address(typed: str) -> None:
    for connect in (Client, lambda address: next(results(address))):
        with pytest.raises(ClientError, match="cannot connect") as caught:
            connect(typed)
        assert "hunter2" not in str(caught.value) and "@" in str(caught.value)
