"""The faults of ``tests/run --mutants`` are put where they are meant to be, and its list is up to date."""

from __future__ import annotations

import pytest
import yaml

pytest.importorskip("cosmic_ray", reason="needs the extra `mutants`")

import mutants


def test_every_room_has_its_modules_and_tests() -> None:
    for room in mutants.ROOMS.values():
        for module in room.modules:
            assert (mutants.CHECKOUT / "daemon/incv3d" / module).is_file(), module
        for test in room.tests:
            assert (mutants.CHECKOUT / "tests" / test).is_file(), test


def test_what_nobody_need_notice_is_still_there_and_says_why() -> None:
    for each in yaml.safe_load(mutants.LISTED.read_text("utf-8")):
        source = (mutants.CHECKOUT / "daemon/incv3d" / each["module"]).read_text("utf-8")
        assert " ".join(each["was"].split()) in " ".join(source.split()), each
        assert each["why"] and each["becomes"] != each["was"]


def test_each_fault_is_one_change_of_one_module_and_statements_are_left_out_too() -> None:
    original = (mutants.CHECKOUT / "daemon/incv3d/pipeline/run_slots.py").read_text("utf-8")
    faults = list(mutants.faults_of("pipeline/run_slots.py"))
    assert len({fault.source for fault in faults}) == len(faults) > 5
    assert all(fault.source != original and fault.was in original for fault in faults)
    assert any(fault.becomes == "pass" for fault in faults)


def test_a_fault_that_cosmic_ray_cannot_put_in_keeps_no_other_out() -> None:
    """It fails at a dotted name in a tuple of exceptions, of which this module has one."""
    faults = list(mutants.faults_of("transports/mqtt/dispatch.py"))
    assert "except (ValueError, struct.error) as error:" in {fault.was for fault in faults}
    assert len(faults) > 50
