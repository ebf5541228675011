"""What every room's tests share."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from incv3d.images.demo import demo_folder
from made_once import MadeOnce
from processes import run_incv3d
from small_disks import small_disk as small_disk  # a fixture

LIMITS_S = {"models": 900, "tools": 900, "engines": 600, "system": 7200}
"""Rooms whose tests make whole networks, or boot machines; the others have what pyproject.toml says."""
CHECKOUT = Path(__file__).resolve().parent.parent

# How long an example takes is the machine's affair; only what comes out of it is tested.
settings.register_profile("incv3d", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("incv3d")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow rooms their limit; a marker of a test's own goes before it. Put slow modules first.

    A module stays with one worker: with a slow one at the end, the other workers would have nothing to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if room in LIMITS_S and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMITS_S[room]))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for continuous integration."""
    parser.addoption(
        "--only-allowed-skips",
        action="store_true",
        help="fail when a test is skipped for a reason that tests/allowed_skips.txt does not list",
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for a skip that is not allowed, as for want of a package."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("only_allowed_skips") or not reporter:
        return  # without the option, or in a worker, which reports to the process that started it
    lines = (Path(__file__).parent / "allowed_skips.txt").read_text("utf-8").splitlines()
    allowed = [re.compile(line) for line in lines if line and not line.startswith("#")]
    for report in reporter.stats.get("skipped", ()):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(pattern.search(reason) for pattern in allowed):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            reporter.write_line(f"{report.nodeid}: this skip is not allowed: {reason}", red=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large test data beside the checkout; tests that need it are skipped without it."""
    folder = Path(os.environ.get("INCV3D_SHARED", CHECKOUT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the test data in {folder} (or $INCV3D_SHARED)")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Copies of what takes long to make."""
    return MadeOnce(tmp_path_factory)


@pytest.fixture(scope="session")
def state(made_once: MadeOnce) -> Path:
    """A state directory with the embedded model in its store, built once for all tests."""

    def build(folder: Path) -> None:
        done = run_incv3d(folder, "classify", str(demo_folder() / "cat.jpg"))
        assert done.returncode == 0, done.stderr

    return made_once.copy("state", build)


@pytest.fixture(scope="session")
def standin(shared: Path, made_once: MadeOnce) -> Path:
    """A state directory with the stand-in for Google's Inception-v3 in its store, as `standin`."""

    def build(folder: Path) -> None:
        archive = str(shared / "models/inception-2015-12-05-standin.tgz")
        done = run_incv3d(folder, "model", "import", archive, "--name", "standin", "--like", "inception-v3")
        assert done.returncode == 0, done.stderr

    return made_once.copy("standin", build)
