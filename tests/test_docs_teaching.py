"""The page about teaching is true: its commands are run as they stand, one after the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from incv3d.client import Client
from incv3d.frames import Prediction
from pages import TEACHING, codes, fences
from processes import PATIENCE_S, DaemonProcess, environment
from taught_models import add_base
from teaching_folders import colored, folder_of

TYPED = [command for fence in fences(TEACHING) for command in fence.commands]
CONFIGURATION = next(fence.text for fence in fences(TEACHING) if fence.language == "yaml")
REPORT = next(fence.text for fence in fences(TEACHING) if "teach report" in fence.text).split("\n", 1)[1]

pytestmark = pytest.mark.slow


class Machine:
    """A machine with a small model, a camera that sees what a test shows it, and a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        add_base(self.state)
        folder_of(folder / "tiles", {"ok": 12, "scratched": 12})
        (folder / "new.jpg").write_bytes(colored("scratched", 99))
        self.show("empty")
        settings = yaml.safe_load(CONFIGURATION)
        settings["source"] |= {"path": str(folder / "seen"), "fps": 20}
        settings |= {
            "model": {"name": "tiny"},
            "session": {"engine": "litert"},
            "intake": {"bind": f"ipc://{folder}/door", "publish": ""},
        }
        self.config = folder / "incv3d.yaml"
        self.config.write_text(yaml.safe_dump(settings))
        self.daemon = DaemonProcess(self.state, folder, INCV3D_CONFIG=str(self.config)).ready()

    def show(self, class_name: str) -> None:
        """Put something before the camera."""
        seen = self.folder / "seen"
        seen.mkdir(exist_ok=True)
        for number in range(4):
            (seen / f".{number}").write_bytes(colored(class_name, number + 50))
            (seen / f".{number}").rename(seen / f"{number}.jpg")

    def type(self, command: str) -> str:
        """Run a command in the shell; return what it prints."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=environment(self.state, INCV3D_CONFIG=str(self.config), PATH=path),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def best(self, image: bytes) -> Prediction:
        """Ask the daemon."""
        with Client(self.daemon.door) as client:
            return (client.classify(image).predictions or [])[0]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    found = Machine(tmp_path_factory.mktemp("teaching"))
    yield found
    found.daemon.kill()


def test_the_commands_do_what_the_page_says_in_its_order(machine: Machine) -> None:
    said: dict[str, str] = {}
    for command in TYPED:
        if "capture full" in command:
            machine.show("full")
        if "wrong.jpg" in command:
            pictures = machine.state / "taught/feeder/pictures/full"
            shutil.copy(min(pictures.iterdir()), machine.folder / "wrong.jpg")
        said[command] = machine.type(command)
        if command.endswith("tiles --use"):
            assert machine.best(colored("scratched", 98)).label == "scratched", command
        if command.endswith("feeder --use"):
            assert machine.best(colored("full", 98)).label == "full", command
            assert machine.best(colored("empty", 97)).label == "empty", command
    assert said["incv3d teach tiles --use"].endswith("the running daemon serves tiles now\n")
    assert "scratched" in said["incv3d classify --model tiles new.jpg"].splitlines()[1]
    assert said["incv3d teach capture empty --name feeder"] == "empty: 30 captured\n"
    assert said["incv3d teach add empty wrong.jpg --name feeder"] == "empty: 1 moved there\n"
    assert {"feeder", "tiles"} <= set(said["incv3d teach list"].split())
    assert "feeder is again what was taught on" in said["incv3d teach revert feeder"]
    shown, printed = (lines_of(text) for text in (REPORT, said["incv3d teach report tiles"]))
    assert shown[:2] == printed[:2] and {each for each in printed if each.startswith("class ")} <= set(shown)
    assert machine.daemon.stop() == 0


def lines_of(text: str) -> list[str]:
    """Its lines without what differs from one set of pictures to another."""
    return [re.sub(r"[\d.%]+|  +", " ", line).strip() for line in text.splitlines()]


def test_commands_in_the_text_of_the_page_are_run_elsewhere() -> None:
    inline = {code for code in codes(TEACHING) if code.startswith(("incv3d ", "sudo incv3d "))}
    elsewhere = {
        "sudo incv3d teach …",  # the same commands; the service's user teaches
        "incv3d teach --from-saved --name mine",  # tests/cli/test_teach_saved.py
        "incv3d teach '' --name feeder",  # tests/cli/test_teach.py
        "incv3d model remove feeder",  # tests/cli
        "incv3d teach report tiles --plot tiles.png",  # tests/teaching/test_matrix_plot.py
        "incv3d teach",  # only named
    }
    assert {" ".join(each.split()) for each in inline} <= elsewhere
