"""What is installed next year is what is tested today."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from incv3d.errors import QUANTIZER

SYSTEMD = Path(__file__).parent.parent / "systemd"
CONSTRAINTS = SYSTEMD / "constraints.txt"
NOT_HELD = {"incv3d", "certifi", "setuptools", "wheel"}
"""Certificates should be today's; the others only build."""


def needed_to_run() -> set[str]:
    """Every package that an installation of incv3d with every extra that serves frames brings along."""
    found: set[str] = set()
    waiting = [("incv3d", ("camera", "video", "http", "mqtt", "notify", "gpio", "keras2", "onnx", ""))]
    while waiting:
        name, extras = waiting.pop()
        found.add(name)
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            marker, wanted = requirement.marker, canonicalize_name(requirement.name)
            applies = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
            if applies and wanted not in found:
                waiting.append((wanted, (*requirement.extras, "")))
    return found | {canonicalize_name(each.name) for each in quantizer()}


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


def quantizer() -> list[Requirement]:
    """What an installation adds of conversions to int8, without what these packages require."""
    return [Requirement(line) for line in lines_of(SYSTEMD / "quantizer.txt")]


def test_every_package_that_an_installation_brings_is_held_at_the_version_tested_here() -> None:
    pairs = (line.partition("==") for line in lines_of(CONSTRAINTS))
    held = {canonicalize_name(name): version for name, _, version in pairs}
    tested = {name: distribution(name).version for name in needed_to_run() - NOT_HELD}
    assert held == tested


def test_the_command_that_adds_the_quantizer_installs_what_an_installation_does() -> None:
    assert ("--no-deps", *map(str, quantizer())) == QUANTIZER
