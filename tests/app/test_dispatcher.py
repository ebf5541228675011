"""A result has left the daemon when every transport has accepted it."""

from __future__ import annotations

import pytest

from incv3d.app.dispatcher import ResultDispatcher
from incv3d.app.event_listeners import EventListeners
from incv3d.app.transports import Transports
from incv3d.frames import OWN, Frame, Refusal, Result, Timings
from incv3d.latency.rolling import RollingLatency

TIMINGS = Timings(queue_ms=1, decode_ms=1, run_ms=1, total_ms=3, age_ms=3)


class Consumer:
    frame_counter = None

    def __init__(self, accepts: bool = True) -> None:
        self.accepts = accepts
        self.results: list[Result] = []

    def deliver(self, result: Result) -> bool:
        self.results.append(result)
        return self.accepts

    def publish_event(self, event: object, frame: object) -> None:
        pass


def dispatcher_to(*consumers: Consumer) -> tuple[ResultDispatcher, RollingLatency, list[tuple[Result, bool]]]:
    latency = RollingLatency(10, 10, 0.0)
    dispatcher = ResultDispatcher(latency, EventListeners([]))
    completed: list[tuple[Result, bool]] = []
    for consumer in consumers:
        dispatcher.add_transport(consumer)
    dispatcher.on_completed(lambda result, is_accepted: completed.append((result, is_accepted)))
    return dispatcher, latency, completed


@pytest.mark.parametrize("accepting", [(True, True, True), (False, True, True), (True, True, False), ()])
def test_a_result_is_accepted_if_all_accept_it_and_all_get_it_anyway(accepting: tuple[bool, ...]) -> None:
    consumers = [Consumer(accepts) for accepts in accepting]
    dispatcher, _, completed = dispatcher_to(*consumers)
    result = Result("zmq", timings=TIMINGS)
    dispatcher.deliver(result)
    assert all(consumer.results == [result] for consumer in consumers)
    assert completed == [(result, all(accepting))]


def test_every_result_is_completed_and_counters_get_all_but_the_probes() -> None:
    dispatcher, latency, completed = dispatcher_to(Consumer())
    rejected = Result.refused(Frame("zmq", b"", None, 0.0, 0.0), Refusal.EXPIRED, "too old")
    results = [Result(OWN), Result("zmq", timings=TIMINGS), rejected]
    for result in results:
        dispatcher.deliver(result)
    assert [result for result, _ in completed] == results
    totals = latency.totals()
    assert totals["ok"] == 1 and totals["expired"] == 1


def test_transports_hear_of_completed_results_only() -> None:
    heard: list[Result] = []

    class Hearing(Consumer):
        def complete(self, result: Result) -> None:
            heard.append(result)

    transports = Transports()
    transports._transports = [Hearing()]  # type: ignore[list-item]
    transports.complete(Result("lost"), False)
    transports.complete(Result("kept"), True)
    assert [result.source for result in heard] == ["kept"]
