"""The three scenarios on a Session whose runs last as long as the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.engines.base import SessionError
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.machine import Readings
from incv3d.pipeline.classifier import Classifier
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.scenario_pipeline import ScenarioPipeline
from incv3d.tools.bench.scenario_runner import ScenarioRunner, highest_rate, result_lines
from incv3d.tools.bench.scenarios import (
    OFFLINE_IN_FLIGHT,
    Query,
    Scenario,
    ScenarioResult,
    arrivals,
    summarize,
    throughput,
)
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor

SMALL = InputSpec(8, 8, 128, 128, "stretch", 1.0, "bilinear")


def cool() -> ThrottleMonitor:
    return ThrottleMonitor(read=lambda: Readings(50.0, 0, None))


def run(
    min_duration_s: float,
    scenario: Scenario,
    script: Callable[[int], None] = lambda number: time.sleep(0.002),
    *,
    rate: float | None = None,
    bound_ms: float | None = None,
    throttle: ThrottleMonitor | None = None,
    images: Sequence[bytes] = (jpeg(seed=0), jpeg(seed=1)),
    session: ScriptedSession | None = None,
) -> ScenarioResult:
    session = session or ScriptedSession(script=script)
    classifier = Classifier(Preprocessor(SMALL, 10**6), session, TwoLabels(), 1)
    with ScenarioPipeline(classifier) as pipeline:
        runner = ScenarioRunner(pipeline, images, min_duration_s, throttle or cool())
        return runner.run(scenario, rate, bound_ms, lambda trial: None)


def test_single_stream_gives_latencies_of_one_image_after_the_other() -> None:
    result = run(0.3, "single-stream")
    p50, p90, p99 = result.latency
    assert 2 <= p50.value <= p90.value <= p99.value
    assert p50.low is not None and p50.high is not None and p50.low <= p50.value <= p50.high
    assert result.duration_s >= 0.3
    assert result.queries * p50.value / 1000 <= result.duration_s * 2
    assert result.throughput is None


def test_offline_gives_a_throughput_and_no_latency() -> None:
    result = run(0.3, "offline")
    assert result.throughput and 0 < result.throughput.value <= 500
    assert result.latency == ()


def test_server_counts_latency_from_arrival_so_that_waiting_shows() -> None:
    # 100 a second can be run and 200 arrive: the last ones have waited about half of the time.
    result = run(0.5, "server", lambda number: time.sleep(0.01), rate=200.0)
    assert result.rate == 200.0
    assert result.latency[2].value > 150
    assert result.duration_s > 0.6


def test_server_arrivals_are_random_at_the_given_rate() -> None:
    result = run(2.0, "server", lambda number: None, rate=150.0)
    assert 230 <= result.queries <= 370  # 300 expected, four standard deviations either way


def test_server_says_whether_the_bound_was_met() -> None:
    easy = run(0.3, "server", rate=20.0, bound_ms=5000.0)
    hard = run(0.3, "server", rate=20.0, bound_ms=0.5)
    assert easy.met_bound is True and hard.met_bound is False
    assert any("NOT met" in line for line in result_lines(hard))


def test_the_highest_rate_is_found_by_halving() -> None:
    def trial(rate: float) -> list[Query]:
        # A machine that keeps up to 37 a second.
        return [Query(10.0 if rate <= 37 else 1000.0, 0.1 * i, False) for i in range(1, 20)]

    told: list[ScenarioResult] = []
    best = highest_rate(trial, 64.0, 100.0, told.append)
    assert best and best.rate == 37.0 and best.met_bound
    assert [each.rate for each in told] == [32.0, 48.0, 40.0, 36.0, 38.0, 37.0]


def test_a_bound_that_no_rate_meets_is_reported() -> None:
    with pytest.raises(BenchError, match=r"no rate keeps the 99th percentile below 0\.1 ms"):
        run(0.2, "server", bound_ms=0.1)


def test_images_of_a_throttled_machine_are_counted_and_left_out() -> None:
    queries = [Query(10.0, i * 0.1, False) for i in range(1, 31)]
    queries += [Query(500.0, 3 + i * 0.5, True) for i in range(1, 11)]
    result = summarize("single-stream", queries)
    assert (result.queries, result.slowed_down) == (40, 10)
    assert result.latency[2].value == 10.0
    assert any(
        "left out 10 of 40 images, during which the machine was throttled" in line
        for line in result_lines(result)
    )


def test_a_throughput_leaves_out_batches_with_the_machine_throttled() -> None:
    queries = [Query(0.0, i * 0.1, False) for i in range(1, 51)]
    queries += [Query(0.0, 5 + i * 1.0, True) for i in range(1, 51)]
    assert throughput(queries).value == pytest.approx(10)


def test_a_machine_throttled_all_the_time_gives_no_result() -> None:
    hot = ThrottleMonitor(read=lambda: Readings(85.0, None, None))
    with pytest.raises(BenchError, match="throttled or hot all the time"):
        run(0.1, "single-stream", throttle=hot)


@pytest.mark.parametrize("scenario", ["single-stream", "offline", "server"])
def test_ctrl_c_keeps_the_results_so_far(scenario: Scenario) -> None:
    def interrupt(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    rate = 200.0 if scenario == "server" else None
    result = run(20, scenario, interrupt, rate=rate)
    assert result.interrupted and result.queries == 4


@pytest.mark.parametrize("scenario", ["single-stream", "offline"])
def test_a_session_that_fails_ends_the_scenario(scenario: Scenario) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise SessionError("broken")

    with pytest.raises(SessionError, match="broken"):
        run(20, scenario, fail)


def test_an_image_that_cannot_be_decoded_ends_the_scenario() -> None:
    with pytest.raises(BenchError, match="not a JPEG"):
        run(20, "offline", images=[b"nothing"])


def test_requests_run_at_once_as_in_the_daemon() -> None:
    # A run takes at least 2 ms, so that 1,000 are enough.
    session = ScriptedSession(held=True, script=lambda number: time.sleep(0.002), reentrant=True)
    thread = threading.Thread(target=run, args=(0.5, "offline"), kwargs={"session": session})
    thread.start()
    assert session.wait_until_under_way(2)
    session.release(1000)
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_offline_finishes_what_is_in_the_pipeline_when_the_time_is_over() -> None:
    assert run(0.0, "offline").queries == 1
    assert run(0.1, "offline", lambda number: time.sleep(0.2)).queries == OFFLINE_IN_FLIGHT


def test_a_trial_leaves_nothing_to_the_next_one() -> None:
    session = ScriptedSession(script=lambda number: time.sleep(0.02))
    classifier = Classifier(Preprocessor(SMALL, 10**6), session, TwoLabels(), 1)
    with ScenarioPipeline(classifier) as pipeline:
        runner = ScenarioRunner(pipeline, [jpeg()], 0.3, cool())
        with pytest.raises(BenchError, match="no rate keeps"):
            runner.run("server", None, 1.0, lambda trial: None)
        result = runner.run("single-stream", None, None, lambda trial: None)
    assert result.latency[0].value < 200


def test_the_schedule_of_arrivals_depends_on_the_seed_alone() -> None:
    assert arrivals(150.0, 2.0, seed=1) == arrivals(150.0, 2.0, seed=1) != arrivals(150.0, 2.0, seed=2)
    assert len(arrivals(0.1, 0.1, seed=1)) == 10, "a few arrive, even if that takes longer"
