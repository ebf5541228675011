"""Which HTTP clients come too early: those of a connection, and those of an address that closed their own."""

from __future__ import annotations

from typing import Any

import pytest

from incv3d.transports.http.holds import MOST_COMPARED, MOST_HELD, Holds
from incv3d.transports.retry_times import LONGEST_HOLD_S, PEERS_REMEMBERED


class Connection:
    def __init__(self) -> None:
        self.transport: object | None = object()


class Request:
    """A request over a connection of its own, or over that of `earlier`."""

    def __init__(self, remote: str = "10.0.0.7", earlier: Request | None = None) -> None:
        self.remote = remote
        self.protocol = earlier.protocol if earlier else Connection()

    def close(self) -> None:
        self.protocol.transport = None


def told(holds: Holds, until: float = 2.0, **more: Any) -> Any:
    request: Any = Request(**more)
    holds.tell(request, until)
    return request


def hold_s(holds: Holds, request: Any, now: float = 0.5) -> float:
    return holds.hold_s(request, now)


def test_a_client_is_held_until_the_time_that_it_was_told_and_only_once() -> None:
    holds = Holds()
    first = told(holds)
    assert hold_s(holds, Request(earlier=first)) == 1.5
    assert hold_s(holds, Request(earlier=first)) == 0, "nobody told it anything since"


def test_others_and_those_that_waited_are_not_held() -> None:
    holds = Holds()
    first = told(holds)
    assert hold_s(holds, Request()) == 0, "the other one of its address is still connected"
    assert hold_s(holds, Request(earlier=first), now=2.0) == 0


def test_a_new_connection_stands_for_a_closed_one_of_its_address() -> None:
    holds = Holds()
    told(holds).close()
    assert hold_s(holds, Request("10.0.0.8")) == 0
    assert hold_s(holds, Request()) == 1.5
    assert hold_s(holds, Request()) == 0, "it stands for one client"


def test_a_client_whose_frame_was_queued_was_told_nothing() -> None:
    holds = Holds()
    first = told(holds)
    holds.admit(first, 0.5)
    assert hold_s(holds, Request(earlier=first)) == 0


def test_nothing_is_held_for_longer_than_clients_wait_nor_beyond_the_limit() -> None:
    holds = Holds()
    first = told(holds, until=3600.0)
    assert hold_s(holds, first) == LONGEST_HOLD_S
    second = told(holds)
    holds.held = MOST_HELD
    assert hold_s(holds, second) == 0


def test_many_open_connections_of_an_address_do_not_hide_a_closed_one_for_long() -> None:
    holds = Holds()
    for _ in range(100):
        told(holds)
    told(holds).close()
    for _ in range(100):
        told(holds)
    found = [hold_s(holds, Request()) for _ in range(201 // MOST_COMPARED + 1)]
    assert found.count(1.5) == 1, "a search compares some, and the next one others"


@pytest.mark.parametrize("remote", ["10.0.0.7", None])
def test_what_is_remembered_is_bounded(remote: Any) -> None:
    holds = Holds()
    for number in range(3 * PEERS_REMEMBERED):
        told(holds, remote=remote or f"10.0.{number >> 8}.{number & 255}")
    assert sum(len(clients) for clients in holds._at.values()) == PEERS_REMEMBERED
    for clients in [*holds._at.values()]:
        for client in [*clients]:
            assert holds._times.hold_until(client, 0.0) == 2.0
            holds._times.forget(client)
    assert not holds._at
