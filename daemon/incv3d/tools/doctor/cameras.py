"""Cameras: what is there, who may open it, and whether it is what the configuration asks for."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from incv3d.config.schema import SourceSection
from incv3d.config.source_types import CAMERAS
from incv3d.sources.base import SourceMisnamed
from incv3d.sources.factory import check_path
from incv3d.tools.doctor.findings import Finding, Status
from incv3d.tools.doctor.host import Host, read
from incv3d.tools.doctor.permissions import READ, WRITE, Person, group_name, may
from incv3d.tools.doctor.programs import run_python

LIMIT_S = 30.0
NODES = ("video[0-9]*", "media[0-9]*", "dma_heap/*", "vchiq")
"""What cameras need: V4L2 the first, libcamera the first three, the legacy camera stack the last."""
CABLE = (
    "is its cable in, contacts the right way? camera_auto_detect=1 in /boot/firmware/config.txt; reboot; "
    "then: incv3d cameras"
)


def check_cameras(machine: Host, source: SourceSection, me: Person, servant: Person | None) -> list[Finding]:
    """The device nodes and who may open them, and what `incv3d cameras` finds.

    :param me: whoever asks.
    :param servant: whom the service runs as; None: it is not installed.
    """
    wanted = source.type in CAMERAS or source.type == "auto"
    nodes = [node for pattern in NODES for node in sorted(machine.dev.glob(pattern))]
    findings = [_nodes(machine, nodes, wanted)]
    for who in filter(None, (me, servant)):
        findings += _forbidden(machine, nodes, who, wanted)
    return [*findings, *_found(machine, source, wanted)]


def _nodes(machine: Host, nodes: list[Path], wanted: bool) -> Finding:
    videos = [node for node in nodes if node.name.startswith("video")]
    names = [
        f"{node.name} {read(machine.sysfs / 'class/video4linux' / node.name / 'name')}" for node in videos
    ]
    if videos:
        return Finding("camera nodes", "ok", f"in {machine.dev}: {', '.join(map(str.strip, names))}")
    status: Status = "warning" if wanted else "note"
    return Finding("camera nodes", status, f"no {machine.dev}/video*", CABLE if wanted else "")


def _forbidden(machine: Host, nodes: list[Path], who: Person, wanted: bool) -> list[Finding]:
    """The nodes that `who` may not open, by the group that may."""
    by_group: dict[int, list[str]] = {}
    for node in nodes:
        if not may(node, who, READ | WRITE):
            by_group.setdefault(node.stat().st_gid, []).append(str(node))
    findings = []
    for gid, names in by_group.items():
        group = group_name(machine, gid)
        what = f"{who.name} may not open {', '.join(names)} (group {group})"
        fix = f"sudo usermod -aG {group} {who.name}; then log in again, or restart the service"
        findings.append(Finding("camera permission", "problem" if wanted else "warning", what, fix))
    if nodes and not findings:
        findings.append(Finding("camera permission", "ok", f"{who.name} may open them"))
    return findings


def _found(machine: Host, source: SourceSection, wanted: bool) -> list[Finding]:
    """What each library finds; in a process of its own, for a camera's driver can hang it."""
    name = "cameras"
    child = run_python(machine, ["-m", "incv3d", "cameras", "--json"], LIMIT_S)
    if child.status is None:
        what = f"asking for them takes more than {LIMIT_S:.0f} s: a driver or a camera hangs"
        return [Finding(name, "problem", what, "switch the camera off and on, or reboot; see: sudo dmesg")]
    if child.status != 0:
        why = child.last_words or f"status {child.status}"
        return [
            Finding(name, "problem" if wanted else "warning", f"cannot be listed: {why}", "incv3d cameras")
        ]
    answer = json.loads(child.out)
    cameras = [f"{camera['type']}: {camera['name']}" for camera in answer["cameras"]]
    return [_wanted(source, answer["cameras"], cameras), *_libraries(source, answer["notes"])]


def _wanted(source: SourceSection, found: list[dict[str, Any]], listed: list[str]) -> Finding:
    """Whether the source that is configured is among what was found."""
    name = "cameras"
    there = ", ".join(listed) or "none found"
    try:
        check_path(source)
    except SourceMisnamed as error:
        return Finding(name, "problem", f"source.path: {error}", "mend source.path")
    if source.type == "v4l2" and source.path:
        return _device(Path(source.path.reveal()), there)
    if source.type == "auto" or source.type in CAMERAS:
        kinds = CAMERAS if source.type == "auto" else (source.type,)
        suited = [camera for camera in found if camera["type"] in kinds]
        if len(suited) > (source.camera if source.type in ("picamera2", "picamera") else 0):
            return Finding(name, "ok", f"{there}; source.type: {source.type} takes one")
        what = f"{there}: source.type: {source.type} has nothing to capture from"
        return Finding(name, "problem", what, CABLE)
    return Finding(name, "ok" if listed else "note", f"{there}; source.type: {source.type} needs none")


def _device(path: Path, there: str) -> Finding:
    try:
        is_device = stat.S_ISCHR(path.stat().st_mode)
    except OSError as error:
        what = f"source.path: {path}: {os.strerror(error.errno or 0)}; there are: {there}"
        return Finding("cameras", "problem", what, "incv3d cameras prints the line for each that is there")
    if not is_device:
        return Finding("cameras", "problem", f"source.path: {path} is not a device", "incv3d cameras")
    return Finding("cameras", "ok", f"source.path: {path} is there")


def _libraries(source: SourceSection, notes: list[str]) -> list[Finding]:
    """Whether the libraries of a Raspberry Pi's own camera, and of the type that is configured, are there."""
    complaints = dict(note.partition(": ")[::2] for note in notes)
    findings = []
    for kind in dict.fromkeys(("picamera2", source.type)):
        if kind not in CAMERAS:
            continue
        complaint = complaints.get(kind)
        if complaint is None:
            findings.append(Finding("camera library", "ok", f"{kind} can be loaded"))
            continue
        what, separator, fix = complaint.partition("; to install it: ")
        if not separator:  # `the Python library X is missing: HOW`
            what, _, fix = complaint.rpartition(": ")
        status: Status = "problem" if kind == source.type else "note"
        findings.append(Finding("camera library", status, f"{kind}: {what}", fix))
    return findings
