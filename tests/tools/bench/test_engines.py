"""What an engine needs, and whether the machine has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.child_process import decode, encode
from incv3d.engines.base import SessionSpec
from incv3d.images.resize import InputSpec
from incv3d.tools.bench.engines import OURS, choose, expected_mb, fitting
from incv3d.tools.bench.errors import BenchUsageError
from incv3d.tools.bench.worker_protocol import Engine, EngineJob


def job(engine: Engine, network: Path) -> EngineJob:
    return EngineJob(
        engine=engine,
        spec=SessionSpec(network, "graphdef", "in:0", "out:0", 8, 8, 2, jpeg_input="jpeg:0"),
        pixels=InputSpec(8, 8, 128, 128, "stretch", 1.0, "bilinear"),
        image="cat.jpg",
        default_threads=False,
    )


def test_engines_are_chosen_by_name_or_all_and_each_once() -> None:
    assert choose("all", OURS, "--engines") == list(OURS)
    assert choose("lean, plain,lean", OURS, "--engines") == ["lean", "plain"]
    for words in ("", ",", "Lean"):
        with pytest.raises(BenchUsageError, match="choose from plain, lean"):
            choose(words, OURS, "--engines")


def test_a_job_is_the_same_in_the_worker(tmp_path: Path) -> None:
    sent = job("lean", tmp_path / "graph.pb")
    assert decode(encode(sent), EngineJob) == sent


def test_what_does_not_fit_into_memory_is_left_out_with_the_reason(tmp_path: Path) -> None:
    network = tmp_path / "graph.pb"
    with network.open("wb") as file:
        file.truncate(91 << 20)
    plain, lean, lite = (job(engine, network) for engine in ("plain", "lean", "litert-float32"))
    needed = {each.engine: expected_mb(each) for each in (plain, lean, lite)}
    assert needed["plain"] > 1700 > 450 > needed["lean"] > needed["litert-float32"]
    fit, unavailable, together = fitting([plain, lean, lite], 900)
    assert [each.engine for each in fit] == ["lean", "litert-float32"] and together
    assert unavailable[0].reason == "too little memory: it needs about 1742 MB, 900 MB are available"
    assert fitting([lean, lite], 600) == ([lean, lite], [], False)
    assert fitting([plain, lean, lite], None) == ([plain, lean, lite], [], True), "unknown: all are tried"
