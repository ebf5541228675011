"""The three scenarios on a Session whose runs last as long as the test says."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.engines.base import SessionError
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.machine import Readings
from incv3d.pipeline.classifier import Classifier
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.scenario_runner import ScenarioRunner, highest_rate, outcome_lines
from incv3d.tools.bench.scenarios import Outcome, Query, summarise, throughput
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor

SMALL = InputSpec(8, 8, 128, 128, "stretch", 1.0, "bilinear")


def cool() -> ThrottleMonitor:
    return ThrottleMonitor(read=lambda: Readings(50.0, 0, None))


def course(
    min_duration_s: float,
    script: Callable[[int], None] = lambda number: time.sleep(0.002),
    **more: ThrottleMonitor,
) -> ScenarioRunner:
    classifier = Classifier(Preprocessor(SMALL, 10**6), ScriptedSession(script=script), TwoLabels(), 1)
    return ScenarioRunner(
        classifier, [jpeg(seed=0), jpeg(seed=1)], min_duration_s, **{"heat": cool(), **more}
    )


def ignore(trial: Outcome) -> None:
    pass


def test_single_stream_gives_latencies_of_one_picture_after_the_other() -> None:
    outcome = course(0.3).run("single-stream", None, None, ignore)
    p50, p90, p99 = outcome.latency
    assert 2 <= p50.value <= p90.value <= p99.value
    assert p50.low is not None and p50.high is not None and p50.low <= p50.value <= p50.high
    assert outcome.duration_s >= 0.3
    assert outcome.queries * p50.value / 1000 <= outcome.duration_s * 2
    assert outcome.throughput is None


def test_offline_gives_a_throughput_and_no_latency() -> None:
    outcome = course(0.3).run("offline", None, None, ignore)
    assert outcome.throughput and 0 < outcome.throughput.value <= 500
    assert outcome.latency == ()


def test_server_counts_latency_from_arrival_so_that_waiting_shows() -> None:
    # 100 a second can be run and 200 arrive: the last ones have waited about half of the time.
    outcome = course(0.5, lambda number: time.sleep(0.01)).run("server", 200.0, None, ignore)
    assert outcome.rate == 200.0
    assert outcome.latency[2].value > 150
    assert outcome.duration_s > 0.6


def test_server_arrivals_are_random_at_the_given_rate() -> None:
    outcome = course(2.0, lambda number: None).run("server", 150.0, None, ignore)
    assert 230 <= outcome.queries <= 370  # 300 expected, four standard deviations either way


def test_server_says_whether_the_bound_was_met() -> None:
    easy = course(0.3).run("server", 20.0, 5000.0, ignore)
    hard = course(0.3).run("server", 20.0, 0.5, ignore)
    assert easy.met_bound is True and hard.met_bound is False
    assert any("NOT met" in line for line in outcome_lines(hard))


def test_the_highest_rate_is_found_by_halving() -> None:
    def trial(rate: float) -> list[Query]:
        # A machine that keeps up to 37 a second.
        return [Query(10.0 if rate <= 37 else 1000.0, 0.1 * i, False) for i in range(1, 20)]

    told: list[Outcome] = []
    best = highest_rate(trial, 64.0, 100.0, told.append)
    assert best and best.rate == 37.0 and best.met_bound
    assert [each.rate for each in told] == [32.0, 48.0, 40.0, 36.0, 38.0, 37.0]


def test_a_bound_that_no_rate_keeps_is_said_so() -> None:
    with pytest.raises(BenchError, match=r"no rate keeps the 99th percentile below 0\.1 ms"):
        course(0.2).run("server", None, 0.1, ignore)


def test_pictures_of_a_throttled_machine_are_counted_and_left_out() -> None:
    queries = [Query(10.0, i * 0.1, False) for i in range(1, 31)]
    queries += [Query(500.0, 3 + i * 0.5, True) for i in range(1, 11)]
    outcome = summarise("single-stream", queries)
    assert (outcome.queries, outcome.slowed_down) == (40, 10)
    assert outcome.latency[2].value == 10.0
    assert any("10 of 40 pictures while the machine was throttled" in line for line in outcome_lines(outcome))


def test_a_throughput_leaves_out_the_stretches_in_which_the_machine_was_throttled() -> None:
    queries = [Query(0.0, i * 0.1, False) for i in range(1, 51)]
    queries += [Query(0.0, 5 + i * 1.0, True) for i in range(1, 51)]
    assert throughput(queries).value == pytest.approx(10)


def test_a_machine_that_was_throttled_all_the_time_gives_no_figure() -> None:
    hot = ThrottleMonitor(read=lambda: Readings(85.0, None, None))
    with pytest.raises(BenchError, match="throttled or hot all the time"):
        course(0.1, heat=hot).run("single-stream", None, None, ignore)


@pytest.mark.parametrize("scenario", ["single-stream", "offline", "server"])
def test_ctrl_c_leaves_what_was_measured(scenario: str) -> None:
    def interrupt(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    rate = 200.0 if scenario == "server" else None
    outcome = course(20, interrupt).run(scenario, rate, None, ignore)  # type: ignore[arg-type]
    assert outcome.interrupted and outcome.queries == 4


@pytest.mark.parametrize("scenario", ["single-stream", "offline"])
def test_a_session_that_fails_ends_the_scenario(scenario: str) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise SessionError("broken")

    with pytest.raises(SessionError, match="broken"):
        course(20, fail).run(scenario, None, None, ignore)  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_decoded_ends_the_scenario() -> None:
    classifier = Classifier(Preprocessor(SMALL, 10**6), ScriptedSession(), TwoLabels(), 1)
    with pytest.raises(Exception, match="not a JPEG"):
        ScenarioRunner(classifier, [b"nothing"], 20, cool()).run("offline", None, None, ignore)
