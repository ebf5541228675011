"""What an engine needs, and whether the machine has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.engines.base import SessionSpec
from incv3d.images.resize import InputSpec
from incv3d.tools.bench.engines import OURS, available_mb, choose, expected_mb, fitting
from incv3d.tools.bench.errors import BenchUsageError
from incv3d.tools.bench.worker_protocol import Engine, Job, decode_job, encode_job


def job(engine: Engine, network: Path) -> Job:
    return Job(
        engine=engine,
        spec=SessionSpec(network, "graphdef", "in:0", "out:0", 8, 8, 2, jpeg_input="jpeg:0"),
        pixels=InputSpec(8, 8, 128, 128, "stretch", 1.0, "bilinear"),
        picture="cat.jpg",
        default_threads=False,
    )


def test_engines_are_named_or_all_are_meant_and_each_once() -> None:
    assert choose("all", OURS, "--engines") == list(OURS)
    assert choose("lean, plain,lean", OURS, "--engines") == ["lean", "plain"]
    for words in ("", ",", "Lean"):
        with pytest.raises(BenchUsageError, match="possible are plain, lean"):
            choose(words, OURS, "--engines")


def test_a_job_is_the_same_after_its_way_to_the_child(tmp_path: Path) -> None:
    sent = job("lean", tmp_path / "graph.pb")
    assert decode_job(encode_job(sent)) == sent


def test_what_does_not_fit_into_memory_is_left_out_with_the_reason(tmp_path: Path) -> None:
    network = tmp_path / "graph.pb"
    with network.open("wb") as file:
        file.truncate(91 << 20)
    plain, lean, lite = (job(engine, network) for engine in ("plain", "lean", "litert-float32"))
    needed = {each.engine: expected_mb(each) for each in (plain, lean, lite)}
    assert needed["plain"] > 1700 > 450 > needed["lean"] > needed["litert-float32"]
    fit, unavailable, together = fitting([plain, lean, lite], 900)
    assert [each.engine for each in fit] == ["lean", "litert-float32"] and together
    assert unavailable[0].reason == "too little memory: it takes about 1742 MB, 900 MB are available"
    assert fitting([lean, lite], 600) == ([lean, lite], [], False)


def test_available_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert available_mb(meminfo) == float("inf")
    meminfo.write_text("MemTotal: 944000 kB\nMemAvailable:   614400 kB\n")
    assert available_mb(meminfo) == 600
