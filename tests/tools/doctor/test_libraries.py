"""Python and its packages: real imports, and packages that fail in the ways that real ones do."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from incv3d.tools.doctor import Host
from incv3d.tools.doctor.libraries import check_libraries, check_python, check_tensorflow, import_packages
from trees import bare, only, statuses, write

CLASH = (
    "numpy.dtype size changed, may indicate binary incompatibility. "
    "Expected 96 from C header, got 88 from PyObject"
)
"""What simplejpeg 1.7.2 says beside NumPy 2."""


def with_package(tmp_path: Path, name: str, code: str) -> Host:
    """A machine on which the package `name` is this one."""
    machine = bare(tmp_path)
    write(tmp_path / "packages" / f"{name}.py", code)
    path = os.pathsep.join(filter(None, (str(tmp_path / "packages"), machine.environ.get("PYTHONPATH"))))
    return replace(machine, environ={**machine.environ, "PYTHONPATH": path})


def test_the_packages_of_this_environment_can_be_loaded(tmp_path: Path) -> None:
    import numpy
    import zmq

    findings = check_libraries(bare(tmp_path))
    assert statuses(findings) == {"libraries": "ok", "numpy ABI": "ok"}, findings
    assert f"numpy {numpy.__version__}, pyzmq {zmq.__version__}" in only(findings, "libraries").what


def test_a_package_built_for_numpy_1_is_named_with_both_fixes(tmp_path: Path) -> None:
    machine = with_package(tmp_path, "simplejpeg", f"raise ValueError({CLASH!r})")
    finding = only(check_libraries(machine), "numpy ABI")
    assert finding.status == "problem" and "simplejpeg cannot be loaded" in finding.what
    assert "built for NumPy 1" in finding.what
    assert f"{sys.executable} -m pip install 'numpy<2'" in finding.fix
    assert f"{sys.executable} -m pip install --upgrade simplejpeg" in finding.fix


def test_a_missing_package_differs_from_an_incompatible_one(tmp_path: Path) -> None:
    machine = with_package(tmp_path, "zmq", "raise ModuleNotFoundError(\"No module named 'zmq'\")")
    bad = [finding for finding in check_libraries(machine) if finding.status == "problem"]
    assert [finding.name for finding in bad] == ["libraries"]
    assert bad[0].what == "pyzmq cannot be loaded: ModuleNotFoundError: No module named 'zmq'"
    assert bad[0].fix.endswith("--force-reinstall pyzmq")


def test_a_package_that_crashes_the_process_is_identified(tmp_path: Path) -> None:
    machine = with_package(tmp_path, "deadly", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    found = import_packages(machine, ("json", "deadly", "csv"))
    assert {each.name: each.error for each in found} == {"json": "", "deadly": "killed by SIGILL", "csv": ""}


def test_a_package_that_hangs_is_identified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incv3d.tools.doctor.libraries.IMPORT_LIMIT_S", 3.0)
    machine = with_package(tmp_path, "slow", "import time; time.sleep(60)")
    found = import_packages(machine, ("json", "slow", "csv"))
    errors = {each.name: each.error for each in found}
    assert errors == {"json": "", "slow": "timeout", "csv": ""}


def test_a_missing_python_is_reported_for_every_package(tmp_path: Path) -> None:
    machine = replace(bare(tmp_path), python=tmp_path / "nothing")
    assert [each.error for each in import_packages(machine, ("json", "csv"))] == [
        "this Python does not exist"
    ] * 2


def test_tensorflows_library_is_loaded_unless_a_daemon_runs(tmp_path: Path) -> None:
    (finding,) = check_tensorflow(bare(tmp_path), running=False)
    assert finding.status == "ok" and finding.what.endswith("its library can be loaded")
    (finding,) = check_tensorflow(replace(bare(tmp_path), python=Path("/bin/false")), running=True)
    assert finding.status == "ok" and "not loaded again" in finding.what


def test_a_tensorflow_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    (finding,) = check_tensorflow(replace(bare(tmp_path), python=Path("/bin/false")), running=False)
    assert finding.status == "problem" and "exit status 1" in finding.what and finding.fix


def test_tensorflow_is_not_loaded_if_it_would_not_fit(tmp_path: Path) -> None:
    machine = replace(bare(tmp_path), python=Path("/bin/false"))
    write(machine.proc / "meminfo", "MemAvailable: 300000 kB\nSwapFree: 0 kB\n")
    (finding,) = check_tensorflow(machine, running=False)
    assert finding.status == "note" and "293 MB are free" in finding.what


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "problem"), ((3, 14), "problem"), ((3, 13), "note")]
)
def test_the_pythons_that_have_wheels_are_known(
    tmp_path: Path, version: tuple[int, int], status: str
) -> None:
    machine = replace(bare(tmp_path), python_version=version, prefix=tmp_path, stdlib=tmp_path)
    assert only(check_python(machine), "python").status == status


@pytest.mark.parametrize(("seen", "words"), [("true", "with the"), ("false", "without the")])
def test_a_virtual_environment_shows_whether_it_uses_apts_packages(
    tmp_path: Path, seen: str, words: str
) -> None:
    write(tmp_path / "venv/pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = {seen}\n")
    machine = replace(bare(tmp_path), python_version=(3, 11), prefix=tmp_path / "venv")
    finding = only(check_python(machine), "python")
    assert finding.status == "ok" and words in finding.what


def test_debians_own_python_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "lib/EXTERNALLY-MANAGED", "[externally-managed]\n")
    machine = replace(bare(tmp_path), python_version=(3, 11), prefix=tmp_path, stdlib=tmp_path / "lib")
    finding = only(check_python(machine), "python")
    assert finding.status == "warning" and "PEP 668" in finding.what and "virtual environment" in finding.fix
