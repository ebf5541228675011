"""Check the cameras: which there are, who can open them, and whether the configured one is among them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from incv3d.config.source import SourceSection
from incv3d.config.source_types import CAMERAS, OpenableType
from incv3d.machine import read_text
from incv3d.sources.base import SourceMisnamed
from incv3d.sources.factory import backend_of
from incv3d.tools.doctor.findings import Finding, Status
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.permissions import READ, WRITE, User, group_name, has_permission
from incv3d.tools.doctor.programs import run_python

LIMIT_S = 30.0


def check_cameras(
    machine: Host, sources: Mapping[str, SourceSection], current: User, service_user: User | None
) -> list[Finding]:
    """Check the device nodes, their permissions, and what ``incv3d cameras`` finds.

    :param sources: the configured ones, by the place of their keys.
    :param current: the user who runs the check.
    :param service_user: the user of the service; None: it is not installed.
    """
    kinds = _camera_types(sources.values())
    wanted = bool(kinds)
    # A USB camera needs none of the heaps that libcamera allocates from.
    patterns = dict.fromkeys(
        pattern for kind in kinds or CAMERAS for pattern in backend_of(kind).device_nodes
    )
    nodes = [node for pattern in patterns for node in sorted(machine.dev.glob(pattern))]
    findings = [_nodes(machine, nodes, kinds)]
    for who in filter(None, (current, service_user)):
        findings += _forbidden(machine, nodes, who, wanted)
    return [*findings, *_found(machine, sources, wanted)]


def _camera_types(sources: Iterable[SourceSection]) -> tuple[OpenableType, ...]:
    """Return the camera types that the configured sources may be of; empty: none is a camera."""
    types = {each.type for each in sources}
    return CAMERAS if "auto" in types else tuple(kind for kind in CAMERAS if kind in types)


def _nodes(machine: Host, nodes: list[Path], kinds: Sequence[OpenableType]) -> Finding:
    videos = [node for node in nodes if node.name.startswith("video")]
    names = [
        f"{node.name} {read_text(machine.sysfs / 'class/video4linux' / node.name / 'name')}"
        for node in videos
    ]
    if videos:
        return Finding("camera nodes", "ok", f"in {machine.dev}: {', '.join(map(str.strip, names))}")
    fix = backend_of(kinds[0]).absence_fix if kinds else ""
    return Finding("camera nodes", "warning" if kinds else "note", f"no {machine.dev}/video*", fix)


def _forbidden(machine: Host, nodes: list[Path], who: User, wanted: bool) -> list[Finding]:
    """Report the nodes that `who` cannot open, by the group that can."""
    by_group: dict[int, list[str]] = {}
    for node in nodes:
        if not has_permission(node, who, READ | WRITE):
            by_group.setdefault(node.stat().st_gid, []).append(str(node))
    findings = []
    for gid, names in by_group.items():
        group = group_name(machine, gid)
        what = f"{who.name} cannot open {', '.join(names)} (group {group})"
        status: Status = "problem" if wanted and gid else "warning"
        fix = f"sudo usermod -aG {group} {who.name}; then log in again, or restart the service"
        if not gid:
            fix = "if libcamera needs it: let the group video open it, with a rule in /etc/udev/rules.d"
        findings.append(Finding("camera permission", status, what, fix))
    if nodes and not findings:
        findings.append(Finding("camera permission", "ok", f"{who.name} can open them"))
    return findings


def _found(machine: Host, sources: Mapping[str, SourceSection], wanted: bool) -> list[Finding]:
    """Report what each library finds, in a child process, because a camera's driver can hang it."""
    name = "cameras"
    child = run_python(machine, ["-m", "incv3d", "cameras", "--json"], LIMIT_S)
    if child.status is None:
        what = f"listing them takes more than {LIMIT_S:.0f} s: a driver or a camera hangs"
        return [Finding(name, "problem", what, "reconnect the camera or reboot; see: sudo dmesg")]
    if child.status != 0:
        why = child.last_error or f"status {child.status}"
        status: Status = "problem" if wanted else "warning"
        return [Finding(name, status, f"cannot be listed: {why}", "run: incv3d cameras")]
    answer = json.loads(child.out)
    cameras = [f"{camera['type']}: {camera['name']}" for camera in answer["cameras"]]
    types = [camera["type"] for camera in answer["cameras"]]
    listed = ", ".join(cameras) or "none found"
    wanted_ones = [_wanted(place, each, types, listed) for place, each in sources.items()]
    none = Finding(name, "ok" if types else "note", f"{listed}; no source is configured")
    return [*(wanted_ones or [none]), *_libraries({each.type for each in sources.values()}, answer["notes"])]


def _wanted(place: str, source: SourceSection, found: Sequence[str], listed: str) -> Finding:
    """Report whether the source configured at `place` is there.

    :param found: the type of each camera that was found.
    """
    name = "cameras"
    kinds = _camera_types([source])
    if not kinds:
        if source.type != "none" and source.type != "auto":
            try:
                backend_of(source.type).check(source)
            except SourceMisnamed as error:
                return Finding(name, "problem", f"{place}.path: {error}", f"correct {place}.path")
        return Finding(name, "ok" if found else "note", f"{listed}; {place}.type: {source.type} needs none")
    absences = [backend_of(kind).absence(source, found.count(kind)) for kind in kinds]
    if "" in absences:
        return Finding(name, "ok", f"{listed}; {source.path or f'{place}.type: {source.type}'} is there")
    absence = absences[0].replace("source.", f"{place}.", 1)
    what = f"{listed}; {absence if len(kinds) == 1 else f'{place}.type: auto needs one'}"
    return Finding(name, "problem", what, backend_of(kinds[0]).absence_fix)


def _libraries(types: Collection[str], notes: Sequence[str]) -> list[Finding]:
    """Report the libraries of the configured types, and of the type that ``auto`` tries first."""
    complaints = dict(note.partition(": ")[::2] for note in notes)
    findings = []
    for kind in CAMERAS:
        if kind != CAMERAS[0] and kind not in types:
            continue
        error = complaints.get(kind)
        if error is None:
            findings.append(Finding("camera library", "ok", f"{kind} can be loaded"))
            continue
        what, _, fix = error.partition("; to install it: ")
        status: Status = "problem" if kind in types else "note"
        findings.append(Finding("camera library", status, f"{kind}: {what}", fix))
    return findings
