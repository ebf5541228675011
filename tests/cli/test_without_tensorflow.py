"""The commands in an installation without TensorFlow: they work on LiteRT, or say what is missing."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from graphs import strongest_channel
from processes import environment
from without_tensorflow import make_environment

COFFEE = Path(__file__).parents[2] / "daemon/incv3d/images/demo/coffee.jpg"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


class Incv3d:
    """Runs commands in the environment; every one of them must end without a traceback."""

    def __init__(self, python: Path, state: Path) -> None:
        self._python = python
        self.environ = environment(state)
        self.environ.pop("PYTHONPATH", None)

    def words(self, *words: str | Path) -> list[str]:
        return [str(self._python), "-P", "-m", "incv3d", *map(str, words)]

    def run(self, *words: str | Path, status: int | None = 0) -> str:
        """Return what a command printed, which must end with `status`; None: fail."""
        done = subprocess.run(
            self.words(*words),
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == status or (status is None and done.returncode), done.stdout
        assert "Traceback" not in done.stdout and "No module named" not in done.stdout, done.stdout
        return done.stdout


@pytest.fixture
def incv3d(python: Path, state: Path) -> Incv3d:
    return Incv3d(python, state)


def test_info_says_what_is_installed(incv3d: Incv3d) -> None:
    facts = json.loads(incv3d.run("info", "--json"))
    assert facts["tensorflow"] == "not installed" and "devices" not in facts
    assert facts["litert"][0].isdigit() and facts["onnxruntime"] == "not installed"


def test_the_embedded_model_is_built_and_run(incv3d: Incv3d) -> None:
    assert "espresso" in incv3d.run("classify", COFFEE)
    assert "ready for litert" in incv3d.run("model", "prepare")
    assert "TensorFlow" in incv3d.run("model", "show", "efficientnet-lite0")


def test_a_model_is_converted_to_int8(incv3d: Incv3d, tmp_path: Path) -> None:
    for number in range(10):
        noise = random.Random(number).randbytes(48 * 48 * 3)
        Image.frombytes("RGB", (48, 48), noise).save(tmp_path / f"{number}.png")
    words = ("--to", "int8", "--pictures", tmp_path, "--min-agreement", "0")
    assert "\nkept: " in incv3d.run("model", "convert", "efficientnet-lite0", *words)
    incv3d.run("model", "remove", "efficientnet-lite0", "--conversion", "int8")


def test_the_daemon_serves(incv3d: Incv3d, tmp_path: Path) -> None:
    door = f"ipc://{tmp_path}/door"
    daemon = subprocess.Popen(
        incv3d.words("run", "--bind", door, "--publish", ""),
        env=incv3d.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert daemon.stderr
    try:
        said = []
        for line in daemon.stderr:
            said.append(line)
            if "READY" in line:
                break
        assert said and "efficientnet-lite0 on litert" in said[-1], said
        assert "espresso" in incv3d.run("classify", "--connect", door, COFFEE)
    finally:
        daemon.terminate()
        rest = daemon.communicate(timeout=60)[1]
    assert daemon.returncode == 0 and "Traceback" not in rest, rest


@pytest.mark.parametrize("command", [["check-config"], ["run", "--config"], ["model", "prepare", "--config"]])
def test_a_configuration_that_needs_tensorflow_is_a_mistake(
    incv3d: Incv3d, tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_text("session: {engine: tensorflow}\nmodel: {name: efficientnet-lite0}\n")
    said = incv3d.run(*command, path, status=2).splitlines()[-1]
    assert "session.engine: efficientnet-lite0 runs on tensorflow, whose library is missing" in said
    assert said.endswith("-m pip install tensorflow")


@pytest.mark.parametrize("command", [["check-config"], ["run", "--config"]])
def test_a_network_that_only_tensorflow_reads_is_a_mistake(
    incv3d: Incv3d, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "net.pb").write_bytes(strongest_channel(8))
    path = tmp_path / "incv3d.yaml"
    path.write_text(f"custom: {{file: {tmp_path}/net.pb}}\n")
    said = incv3d.run(*command, path, status=2)
    assert "custom.file" in said and "tensorflow is not installed" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["model", "export", "efficientnet-lite0", "HERE/exported.tar"],
        ["model", "import", "HERE/net.pb"],
        ["bench", "--random-weights"],
        ["bench", "--engines", "plain,lean", "--model", "efficientnet-lite0"],
    ],
)
def test_what_needs_tensorflow_says_how_to_install_it(
    incv3d: Incv3d, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "net.pb").write_bytes(strongest_channel(8))
    words = [word.replace("HERE", str(tmp_path)) for word in command]
    last = incv3d.run(*words, status=None).splitlines()[-1]
    assert last.startswith("incv3d: ") and "tensorflow is not installed: " in last
    assert last.endswith("-m pip install tensorflow")


def test_the_doctor_finds_no_problem(incv3d: Incv3d) -> None:
    found = json.loads(incv3d.run("doctor", "--json"))
    assert found["problems"] == 0, found
    tensorflow = [each for each in found["findings"] if each["name"] == "tensorflow"]
    assert [(each["status"], each["what"]) for each in tensorflow] == [
        ("note", "not installed; models run on LiteRT")
    ]
    assert [each["status"] for each in found["findings"] if each["name"] == "int8"] == ["ok"]
