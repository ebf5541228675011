"""What a lesson does with what was taught before; the command's tests teach whole lessons."""

from __future__ import annotations

from pathlib import Path

import msgspec

from heads import axes, facts_of, head_of
from incv3d.models.taught.store import TaughtStore
from incv3d.teaching.lesson import report_before
from incv3d.teaching.training import train
from taught_pictures import pictures


def test_a_damaged_report_of_the_head_before_does_not_keep_one_from_teaching_again(tmp_path: Path) -> None:
    store, head = TaughtStore(tmp_path), head_of(("empty", "full"), axes(2))
    report = train(pictures([6, 6])).report
    store.save(head, facts_of("mine", head), msgspec.json.encode(report))
    assert report_before(store.get("mine")) == report
    store.save(head, facts_of("mine", head), b'{"format": 1')
    assert report_before(store.get("mine")) is None
    (store.get("mine").folder / "report.json").unlink()
    assert report_before(store.get("mine")) is None
