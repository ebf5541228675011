"""The commands in an installation without TensorFlow: they work on LiteRT, or say what is missing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from processes import environment
from without_tensorflow import make_environment

DEMO = Path(__file__).parents[2] / "daemon/incv3d/images/demo"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


class Incv3d:
    """Runs commands in the environment; every one of them must end without a traceback."""

    def __init__(self, python: Path, state: Path) -> None:
        self._command = [str(python), "-P", "-m", "incv3d"]
        self.environ = environment(state)
        self.environ.pop("PYTHONPATH", None)

    def run(self, *words: str | Path, status: int = 0) -> str:
        """Return what a command printed, which must end with `status`."""
        done = subprocess.run(
            [*self._command, *map(str, words)],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout
        assert "Traceback" not in done.stdout and "No module named" not in done.stdout, done.stdout
        return done.stdout


@pytest.fixture
def incv3d(python: Path, state: Path) -> Incv3d:
    return Incv3d(python, state)


def test_info_says_what_is_installed(incv3d: Incv3d) -> None:
    facts = json.loads(incv3d.run("info", "--json"))
    assert facts["tensorflow"] == "not installed" and "devices" not in facts
    assert facts["litert"][0].isdigit() and facts["onnxruntime"] == "not installed"


def test_the_doctor_finds_no_problem(incv3d: Incv3d) -> None:
    found = json.loads(incv3d.run("doctor", "--json"))
    tensorflow = [each for each in found["findings"] if each["name"] == "tensorflow"]
    assert [(each["status"], each["what"]) for each in tensorflow] == [
        ("note", "not installed; models run on LiteRT")
    ]
