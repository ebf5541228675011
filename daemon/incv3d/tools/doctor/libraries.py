"""Check the Python that runs incv3d, and that its packages can be loaded, each in a child process."""

from __future__ import annotations

import json
import shlex
import signal
from dataclasses import dataclass
from importlib.util import find_spec

from incv3d.errors import QUANTIZER
from incv3d.machine import available_memory_mb, parse_fields, read_text
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.programs import ProgramOutput, run_python

OLDEST, NEWEST = (3, 11), (3, 13)
PACKAGES = ("numpy", "zmq", "simplejpeg", "PIL", "ai_edge_litert.interpreter")
"""Packages with compiled parts, in the order in which they are loaded."""
DISTRIBUTIONS = {"zmq": "pyzmq", "PIL": "pillow", "ai_edge_litert.interpreter": "ai-edge-litert"}
NUMPY_1 = ("numpy.dtype size changed", "numpy.ndarray size changed", "_ARRAY_API", "using NumPy 1.x")
"""What NumPy reports about a package built for NumPy 1 (numpy.org, "Troubleshooting import")."""
IMPORT_LIMIT_S = 60.0
LOAD_LIMIT_S = 120.0
"""TensorFlow's library is 1.1 GB, which a Raspberry Pi reads from a slow card."""
LOAD_MB = 450.0
"""Peak memory of loading it; it is not tried with less."""
IMPORTS = """
import importlib, json, sys
for name in sys.argv[1:]:
    print(json.dumps({"trying": name}), flush=True)
    try:
        module = importlib.import_module(name)
        found = {"version": getattr(module, "__version__", ""), "file": getattr(module, "__file__", "") or ""}
    except BaseException as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"name": name, **found}), flush=True)
"""
QUANTIZER_PARTS = ("ai-edge-quantizer", "immutabledict", "absl-py")
READ_QUANTIZER = f"from importlib.metadata import version; print(*map(version, {QUANTIZER_PARTS}))"
LOAD_TENSORFLOW = "from incv3d.engines.capi import Library; print(Library().version)"


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of importing a package."""

    name: str
    version: str = ""
    file: str = ""
    error: str = ""


def check_python(machine: Host) -> list[Finding]:
    """Report the Python version and where its packages are installed."""
    version = ".".join(map(str, machine.python_version))
    name = "python"
    if not OLDEST <= machine.python_version <= NEWEST:
        what = f"{version}: incv3d and TensorFlow's wheels need 3.11 to 3.13"
        return [
            Finding(name, "problem", what, "install such a Python, then run: PYTHON=python3.12 daemon/run")
        ]
    configured = parse_fields(read_text(machine.prefix / "pyvenv.cfg"), "=")
    if configured:
        system = configured.get("include-system-site-packages", "").lower() == "true"
        seen = "with" if system else "without"
        what = f"{version}, virtual environment {machine.prefix}, {seen} the system's packages"
        return [Finding(name, "ok", what)]
    if (machine.stdlib / "EXTERNALLY-MANAGED").exists():
        what = f"{version}, the system's own, which Debian protects from pip (PEP 668)"
        fix = "install into a virtual environment; in a checkout, daemon/run creates one"
        return [Finding(name, "warning", what, fix)]
    return [Finding(name, "note", f"{version}, not a virtual environment")]


def check_libraries(machine: Host) -> list[Finding]:
    """Report whether every compiled package can be loaded with the installed NumPy."""
    imported = import_packages(machine, PACKAGES)
    findings = [_finding(machine, each) for each in imported]
    good = [each for each in imported if not each.error]
    numpy = next((each for each in good if each.name == "numpy"), None)
    bad = [finding for finding in findings if finding.status != "ok"]
    listed = ", ".join(f"{DISTRIBUTIONS.get(each.name, each.name)} {each.version}".strip() for each in good)
    summary = [Finding("libraries", "ok", listed)] if good else []
    old = [finding for finding in bad if finding.name == "numpy ABI"]
    if numpy and not old:
        fits = f"the packages work with NumPy {numpy.version}"
        return [*summary, *bad, Finding("numpy ABI", "ok", fits)]
    return [*summary, *bad]


def check_tensorflow(machine: Host, running: bool) -> list[Finding]:
    """Report whether TensorFlow's library can be loaded.

    :param running: whether a daemon already runs here; loading the library again would take its memory.
    """
    name = "tensorflow"
    if find_spec("tensorflow") is None:
        # A configuration that needs it is a finding of its own.
        return [Finding(name, "note", "not installed; models run on LiteRT")]
    if running:
        return [Finding(name, "ok", "not loaded again: a daemon runs here")]
    free_mb = available_memory_mb(machine.proc)
    if free_mb is not None and free_mb < LOAD_MB:
        return [
            Finding(name, "note", f"not tried: loading it takes {LOAD_MB:.0f} MB, {free_mb:.0f} MB are free")
        ]
    child = run_python(machine, ["-c", LOAD_TENSORFLOW], LOAD_LIMIT_S)
    if child.status == 0:
        return [Finding(name, "ok", f"{child.out.strip()}, its library can be loaded")]
    fix = f"{machine.pip} --force-reinstall tensorflow, or use .tflite models, which do not need it"
    return [Finding(name, "problem", f"its library cannot be loaded: {_error_of(child)}", fix)]


def check_quantizer(machine: Host) -> list[Finding]:
    """Report whether models can be converted to int8. The library is not loaded: that takes seconds."""
    child = run_python(machine, ["-c", READ_QUANTIZER], IMPORT_LIMIT_S)
    if child.status == 0:
        return [Finding("int8", "ok", f"{QUANTIZER_PARTS[0]} {child.out.split()[0]}")]
    what = f"{QUANTIZER_PARTS[0]} is not installed: models cannot be converted to int8, which runs fastest"
    return [Finding("int8", "note", what, f"{machine.pip} {shlex.join(QUANTIZER)}")]


def import_packages(machine: Host, names: tuple[str, ...]) -> list[ImportResult]:
    """Import each of `names`, and find out which one crashes the process."""
    done: list[ImportResult] = []
    while left := [name for name in names if name not in {each.name for each in done}]:
        child = run_python(machine, ["-c", IMPORTS, *left], IMPORT_LIMIT_S)
        lines = [json.loads(line) for line in child.out.splitlines() if line.startswith('{"')]
        done += [ImportResult(**line) for line in lines if "name" in line]
        trying = [line["trying"] for line in lines if "trying" in line]
        if not trying:
            return [*done, *(ImportResult(name, error=_error_of(child)) for name in left)]
        if trying[-1] not in {each.name for each in done}:
            done.append(ImportResult(trying[-1], error=_error_of(child)))
    return done


def _finding(machine: Host, each: ImportResult) -> Finding:
    package = DISTRIBUTIONS.get(each.name, each.name)
    if not each.error:
        return Finding("libraries", "ok", f"{package} {each.version}")
    what = f"{package} cannot be loaded: {' '.join(each.error.split())}"
    if any(sign in each.error for sign in NUMPY_1):
        fix = f"{machine.pip} 'numpy<2' (TensorFlow works with 1.26), or: {machine.pip} --upgrade {package}"
        return Finding("numpy ABI", "problem", f"{what} (it was built for NumPy 1)", fix)
    return Finding("libraries", "problem", what, f"{machine.pip} --force-reinstall {package}")


def _error_of(child: ProgramOutput) -> str:
    if not child.found:
        return "this Python does not exist"
    if child.status is None:
        return "timeout"
    if child.status < 0:
        return f"killed by {signal.Signals(-child.status).name}"
    return child.last_error or f"exit status {child.status}"
