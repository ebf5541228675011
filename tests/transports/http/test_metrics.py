"""Metrics: what is counted, what is read when it is collected, and what Prometheus' own tool says of it."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon_status import STANDING
from incv3d.config.network import HttpSection
from incv3d.frames import Refusal, Timings
from incv3d.latency.rolling import DROPPED, OUTCOMES
from incv3d.machine import Readings
from incv3d.transports.http.metrics import BUCKETS_S, Metrics, metrics_routes
from incv3d.transports.http.server import HttpServer


def exposed(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Values by name and label values."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_frame_is_counted_once_and_each_of_its_durations_in_seconds() -> None:
    metrics = Metrics(lambda: STANDING)
    metrics.record(0.0, Timings(queue_ms=2, decode_ms=20, run_ms=900, total_ms=922, age_ms=20_000))
    found = exposed(metrics)
    assert found["incv3d_frames_total", "ok"] == 1
    assert found["incv3d_run_seconds_sum",] == pytest.approx(0.9)
    assert found["incv3d_run_seconds_bucket", "1.0"] == 1 and found["incv3d_run_seconds_bucket", "0.5"] == 0
    assert found["incv3d_queue_seconds_bucket", "0.0025"] == 1
    assert found["incv3d_age_seconds_bucket", "10.0"] == 0 and found["incv3d_age_seconds_bucket", "+Inf"] == 1
    assert (BUCKETS_S[0], BUCKETS_S[-1]) == (0.001, 10.0)


def test_every_outcome_is_there_from_the_start() -> None:
    metrics = Metrics(lambda: STANDING)
    for outcome in (Refusal.BUSY, Refusal.BUSY, DROPPED):
        metrics.count(0.0, outcome)
    found = exposed(metrics)
    counted = {outcome: found["incv3d_frames_total", outcome] for outcome in OUTCOMES}
    assert counted == dict.fromkeys(OUTCOMES, 0) | {"busy": 2, "dropped": 1}


def test_the_daemon_is_looked_at_when_metrics_are_collected() -> None:
    found = exposed(Metrics(lambda: STANDING))
    assert found["incv3d_queue_frames",] == 3 and found["incv3d_queue_limit_frames",] == 8
    assert found["incv3d_state", "ready"] == 1 and found["incv3d_state", "starting"] == 0
    assert found["incv3d_camera_state", "gate", "stalled"] == 1
    assert sum(value for key, value in found.items() if key[0] == "incv3d_camera_state") == 1
    assert found["incv3d_camera_frames_total", "gate"] == 120
    assert found["incv3d_camera_refused_frames_total", "gate"] == 7
    assert found["incv3d_tuning_state", "collecting"] == 1 and found["incv3d_tuning_state", "off"] == 0
    assert found["incv3d_tuning_frames",] == 12 and found["incv3d_tuning_failed_tries",] == 1
    assert found["incv3d_temperature_celsius",] == 61.5 and found["incv3d_healthy",] == 1
    assert found["incv3d_throttled", "throttled"] == 1 and found["incv3d_throttled", "frequency capped"] == 0
    assert found["incv3d_throttled_since_boot", "under-voltage"] == 1
    assert found["incv3d_model_info", "litert", "gamma", "1"] == 1
    assert found["process_resident_memory_bytes",] > 1e6


def test_what_cannot_be_known_is_left_out() -> None:
    bare = replace(STANDING, model={}, sources=[], health="broken", machine=Readings(None, None, None))
    names = {key[0] for key in exposed(Metrics(lambda: bare))}
    assert not {name for name in names if "camera" in name or "temperature" in name or "throttled" in name}
    assert "incv3d_model_info" not in names
    assert exposed(Metrics(lambda: bare))["incv3d_healthy",] == 0


def test_two_daemons_in_one_process_do_not_share_anything() -> None:
    first, second = Metrics(lambda: STANDING), Metrics(lambda: STANDING)
    first.record(0.0, Timings())
    assert exposed(second)["incv3d_frames_total", "ok"] == 0


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ("application/openmetrics-text; version=x", "text/plain"),
        ("text/plain; version=1..0", "text/plain"),
    ],
)
def test_whatever_version_a_client_accepts_it_gets_the_metrics(accepted: str, kind: str) -> None:
    def died(thread: str, error: BaseException) -> None:
        raise error

    server = HttpServer(HttpSection(bind="127.0.0.1:0"), metrics_routes(Metrics(lambda: STANDING)), died)
    server.open()
    server.start()
    try:
        request = urllib.request.Request(f"{server.url}/metrics", headers={"Accept": accepted})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers.get_content_type() == kind and b"incv3d_frames_total" in answer.read()
    finally:
        assert server.close(20)


def test_prometheus_own_tool_has_nothing_to_say() -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: apt-get install prometheus")
    metrics = Metrics(lambda: STANDING)
    metrics.record(0.0, Timings(run_ms=5))
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(metrics.registry),
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
