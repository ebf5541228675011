"""Fixtures for the pipeline's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from doubles import ScriptedSession
from incv3d.images.change_detector import ChangeDetector
from scripted_pipeline import ScriptedPipeline


@pytest.fixture
def start_pipeline() -> Iterator[Callable[..., ScriptedPipeline]]:
    pipelines: list[ScriptedPipeline] = []

    def make(
        held: bool = False,
        script: Callable[[int], None] = lambda number: None,
        changes: ChangeDetector | None = None,
        reentrant: bool = False,
        overlap: bool = True,
    ) -> ScriptedPipeline:
        pipelines.append(
            ScriptedPipeline(ScriptedSession(held, script, reentrant), changes=changes, overlap=overlap)
        )
        return pipelines[-1].start()

    yield make
    for each in pipelines:
        each.frame_queue.close()
        each.session.release(1000)
        each.decoder.let_go.release(1000)
