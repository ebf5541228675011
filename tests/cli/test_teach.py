"""``incv3d teach``: from a folder of pictures to a daemon that says the owner's words."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from incv3d.cli.teach_lesson import Options, give_lesson
from incv3d.client import Client
from incv3d.models.entry import ModelEntry
from incv3d.models.graph.graphdef_writer import GraphDefWriter
from incv3d.models.store import GRAPH, LABELS, ModelStore
from incv3d.models.taught.store import TaughtStore
from processes import PATIENCE_S, DaemonProcess, environment, run_incv3d
from taught_models import add_base
from teaching_folders import colored, folder_of

BALANCED = {"empty": 8, "full": 8}
NO_VERSIONS = b"\x22\x00"
"""An empty field of a GraphDef: another file, the same network."""


@pytest.fixture(scope="module")
def with_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a small base model."""
    state = tmp_path_factory.mktemp("with_base")
    add_base(state)
    return state


@dataclass(frozen=True)
class Owner:
    """Somebody with a configuration, a model and a folder of pictures."""

    state: Path
    config: Path
    feeder: Path

    def teach(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run_incv3d(self.state, "teach", *words, "--config", str(self.config))

    def taught(self, name: str = "feeder") -> list[str]:
        """The classes that the model knows."""
        return list(TaughtStore(self.state).get(name).facts.classes)


@pytest.fixture
def owner(with_base: Path, tmp_path: Path) -> Owner:
    state = Path(shutil.copytree(with_base, tmp_path / "state"))
    config = tmp_path / "incv3d.yaml"
    config.write_text(
        f"# my configuration\nmodel: {{name: tiny}}\nsession: {{engine: litert}}\n"
        f"intake: {{bind: 'ipc://{tmp_path}/door', publish: ''}}\n"
    )
    return Owner(state, config, folder_of(tmp_path / "feeder", BALANCED))


def test_a_folder_teaches_and_its_name_is_that_of_the_model(owner: Owner) -> None:
    done = owner.teach(str(owner.feeder))
    assert done.returncode == 0, done.stderr
    assert "accuracy on pictures it has not seen: " in done.stdout and done.stdout.endswith("taught feeder\n")
    assert "to use it: incv3d teach --name feeder --use\n" in done.stderr
    assert owner.taught() == ["empty", "full"]
    picture = owner.feeder.parent / "new.jpg"
    picture.write_bytes(colored("full", 77))
    words = ("classify", str(picture), "--model", "feeder", "--config", str(owner.config))
    assert "full" in run_incv3d(owner.state, *words).stdout.splitlines()[1]


def test_once_more_it_needs_no_folder_and_looks_at_new_pictures_only(owner: Owner) -> None:
    owner.teach(str(owner.feeder), "--fit", "crop")
    cache = next(owner.state.glob("taught/feeder/features/*"))
    size_bytes = cache.stat().st_size
    folder_of(owner.feeder, {"other": 4})
    owner.config.write_text(owner.config.read_text().replace("name: tiny", "name: efficientnet-lite0"))
    done = owner.teach("--name", "feeder")
    assert done.returncode == 0, done.stderr
    assert owner.taught() == ["empty", "full", "other"]
    assert TaughtStore(owner.state).get("feeder").facts.base == "tiny", "the network of last time looks"
    assert cache.stat().st_size == size_bytes * 20 / 16, "the features of sixteen pictures were there"
    assert TaughtStore(owner.state).get("feeder").facts.fit == "crop"
    assert owner.teach("revert", "feeder").returncode == 0
    assert owner.taught() == ["empty", "full"]


def test_pictures_that_were_added_teach_along_and_one_that_is_in_another_class_is_named(owner: Owner) -> None:
    (owner.state.parent / "a.jpg").write_bytes(colored("other", 1))
    (owner.state.parent / "b.jpg").write_bytes(colored("empty", 3))
    owner.teach(str(owner.feeder))
    owner.teach("add", "other", str(owner.state.parent / "a.jpg"))
    owner.teach("add", "full", str(owner.state.parent / "b.jpg"))
    done = owner.teach("--name", "feeder")
    assert owner.taught() == ["empty", "full", "other"]
    assert "in two classes, left out: 1\n" in done.stdout and "empty/1/3.jpg and full/b_" in done.stdout


def test_one_class_of_the_folder_and_another_of_its_own_are_enough(owner: Owner, tmp_path: Path) -> None:
    only = folder_of(tmp_path / "only", {"empty": 4})
    done = owner.teach(str(only))
    assert done.returncode == 2 and "has only one class, `empty`" in done.stderr
    owner.teach("add", "empty", str(owner.feeder / "empty/3"), "--name", "only")
    done = owner.teach("--name", "only")
    assert done.returncode == 2 and "only has only one class, `empty`" in done.stderr
    owner.teach("add", "full", str(owner.feeder / "full/*/*.jpg"), "--name", "only")
    assert owner.teach(str(only)).returncode == 0
    assert owner.taught("only") == ["empty", "full"]


def test_programs_get_lines_of_progress_and_the_report(owner: Owner) -> None:
    done = owner.teach(str(owner.feeder), "--json", "--test", str(owner.feeder))
    assert done.returncode == 0, done.stderr
    *steps, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"step": "pictures", "done": 16, "total": 16} in steps
    assert all(each.keys() == {"step", "done", "total"} for each in steps)
    assert (last["name"], last["kept"], last["problem"]) == ("feeder", True, "")
    assert last["report"] == json.loads(owner.teach("report", "feeder", "--json").stdout)
    assert last["report"]["test"]["accuracy"]["value"] > 0.9


def test_a_dry_run_only_reports(owner: Owner) -> None:
    done = owner.teach(str(owner.feeder), "--dry-run")
    assert done.returncode == 0 and "accuracy" in done.stdout and "taught feeder" not in done.stdout
    assert TaughtStore(owner.state).names() == []


@pytest.mark.slow
def test_what_is_not_better_than_guessing_is_kept_only_by_force(owner: Owner, tmp_path: Path) -> None:
    folder = tmp_path / "alike"
    for number in range(40):
        occasion = folder / "ab"[number % 2] / str(number // 4)
        occasion.mkdir(parents=True, exist_ok=True)
        (occasion / f"{number}.jpg").write_bytes(colored("empty", number))
    done = owner.teach(str(folder))
    assert done.returncode == 1
    assert "incv3d: alike was not kept: it is not better than guessing; to keep it all the same: --force" in (
        done.stderr
    )
    assert TaughtStore(owner.state).names() == []
    assert owner.teach(str(folder), "--force").returncode == 0
    assert owner.taught("alike") == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "nowhere: no such folder"),
        (("empty-folder",), "has no files; teaching needs"),
        (("one-class",), "has only one class, `empty`"),
        (("zip",), "if the folders in it are the classes: incv3d teach "),
        (("feeder/empty/0/1.jpg", "--name", "x"), "not a folder"),
        (("unreadable",), "`full` has no pictures that can be read"),
        (("the same",), "the folder's name cannot be that of a model; add --name NAME"),
        (("feeder", "--base", "nomodel"), "no model `nomodel`"),
        (("feeder", "--name", "birds"), "`birds` is the name of a model"),
        (("feeder", "--use", "--dry-run"), "--use and --dry-run exclude each other"),
        (("--name", "new"), "new has no pictures yet"),
        (("report",), "which model? name it (there is none yet; choose one)"),
        (("revert", "nothing"), "no taught model `nothing`"),
        (("--from-saved", "--name", "x"), "no pictures of events are saved; set saving.folder"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    owner: Owner, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty-folder").mkdir()
    folder_of(tmp_path / "one-class", {"empty": 2})
    folder_of(tmp_path / "the same", BALANCED)
    folder_of(tmp_path / "zip/feeder", BALANCED)
    (folder_of(tmp_path / "unreadable", {"empty": 2}) / "full").mkdir()
    (tmp_path / "unreadable/full/1.jpg").write_text("no picture")
    found = [str(tmp_path / each) if (tmp_path / each).exists() else each for each in words]
    done = owner.teach(*found)
    assert done.returncode in (1, 2) and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and TaughtStore(owner.state).names() == []


def test_two_at_once_are_refused_and_one_is_taught(owner: Owner) -> None:
    with TaughtStore(owner.state).teaching("feeder"):
        done = owner.teach(str(owner.feeder))
    assert done.returncode == 1 and "another process is already doing this" in done.stderr


def test_stopped_by_ctrl_c_it_says_what_is_kept(owner: Owner) -> None:
    words = [sys.executable, "-m", "incv3d", "teach", str(owner.feeder), "--config", str(owner.config)]
    folder_of(owner.feeder, {"empty": 500})
    child = subprocess.Popen(words, env=environment(owner.state), stderr=subprocess.PIPE, text=True)
    assert child.stderr
    while "pictures" not in child.stderr.readline():
        pass
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130
    assert "stopped: nothing has changed; pictures looked at so far need no second look\n" in said
    assert TaughtStore(owner.state).names() == []


@pytest.fixture
def daemon(owner: Owner, tmp_path: Path) -> Iterator[DaemonProcess]:
    found = DaemonProcess(owner.state, tmp_path, "--config", str(owner.config)).ready()
    yield found
    found.kill()


@pytest.mark.slow
def test_used_at_once_it_takes_over_in_the_running_daemon(owner: Owner, daemon: DaemonProcess) -> None:
    done = owner.teach(str(owner.feeder), "--use")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        f"{owner.config}: model.name is now feeder\nthe running daemon serves feeder now\n"
    )
    assert owner.config.read_text().startswith("# my configuration\nmodel: {name: feeder}\n")
    with Client(daemon.door) as client:
        answer = client.classify(colored("full", 99))
        assert (answer.model, (answer.predictions or [])[0].label) == ("feeder", "full")
        folder_of(owner.feeder, {"other": 8})
        done = owner.teach()
        assert "the running daemon serves feeder now\n" in done.stdout, done.stderr
        assert (client.classify(colored("other", 99)).predictions or [])[0].label == "other"
        owner.teach("revert", "feeder")
        assert (client.classify(colored("other", 99)).predictions or [])[0].label != "other"
    assert daemon.stop() == 0


def test_without_a_running_daemon_the_next_one_uses_it(owner: Owner) -> None:
    done = owner.teach(str(owner.feeder), "--use")
    assert "no daemon runs with this configuration; the next one to start uses it\n" in done.stdout
    assert "name: feeder" in owner.config.read_text()


def test_without_a_configuration_file_auto_means_it(owner: Owner) -> None:
    door = {"INCV3D_BIND": f"ipc://{owner.state}/door"}
    words = ("teach", str(owner.feeder), "--base", "tiny", "--use")
    done = run_incv3d(owner.state, *words, **door)
    assert "built-in defaults: model.name is auto, which means feeder now\n" in done.stdout, done.stderr
    picture = str(owner.feeder / "full/0/1.jpg")
    assert "full" in run_incv3d(owner.state, "classify", picture, **door).stdout.splitlines()[1]


def test_what_use_cannot_change_is_said_before_anything_is_taught(owner: Owner) -> None:
    words = ("teach", str(owner.feeder), "--use")
    done = run_incv3d(owner.state, *words, INCV3D_CONFIG=str(owner.config), INCV3D_MODEL="tiny")
    assert done.returncode == 2 and "$INCV3D_MODEL overrides `model.name` of" in done.stderr
    assert TaughtStore(owner.state).names() == []


def test_for_root_a_child_teaches_as_the_services_user_and_root_changes_the_configuration(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(owner.state).items():
        monkeypatch.setenv(name, value)
    # Whose configuration it is decides; the child finds none of a service here, and stays who it is.
    monkeypatch.setattr("incv3d.cli.teach_use.SYSTEM_FILE", owner.config)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    words = {"key": None, "name": None, "base": None, "test_folder": str(owner.feeder), "fit": "crop"}
    flags = {"from_saved": False, "dry_run": False, "use": True, "force": True, "as_json": False}
    give_lesson(Options(folder=str(owner.feeder), config_path=str(owner.config), **words, **flags))  # type: ignore[arg-type]
    out, said = capfd.readouterr()
    assert out.count("taught feeder\n") == 1 and "to use it" not in said
    assert TaughtStore(owner.state).get("feeder").facts.fit == "crop"
    assert "model: {name: feeder}" in owner.config.read_text()


def test_alone_it_explains_itself(owner: Owner) -> None:
    done = run_incv3d(owner.state, "teach")
    assert done.returncode == 0 and "incv3d teach FOLDER --use" in done.stdout and "capture" in done.stdout


def test_a_base_without_features_cannot_be_taught(owner: Owner) -> None:
    entry = ModelEntry(
        input="pixels:0", output="scores:0", height=8, width=8, mean=128, scale=128, fit="stretch",
        interpolation="bilinear", outputs=3,
    )  # fmt: skip
    with ModelStore(owner.state).adding("blind", entry) as folder, (folder / GRAPH).open("wb") as file:
        graph = GraphDefWriter(file)
        axes = graph.constant("axes", np.array([1, 2], np.int32))
        means = graph.node("means", "Mean", graph.placeholder("pixels", (1, 8, 8, 3)), axes, keep_dims=False)
        graph.node("scores", "Softmax", means)
        (folder / LABELS).write_text("0\t\tred\n1\t\tgreen\n2\t\tblue\n")
    done = owner.teach(str(owner.feeder), "--base", "blind")
    assert done.returncode == 2 and "blind cannot be taught: it has no layer of features" in done.stderr


def test_a_base_that_was_replaced_is_taught_anew(owner: Owner) -> None:
    owner.teach(str(owner.feeder))
    first = TaughtStore(owner.state).get("feeder").facts.base_sha256
    store = ModelStore(owner.state)
    with store.adding("tiny", store.get("tiny").entry, replace=True) as folder:
        for name in (GRAPH, LABELS):
            shutil.copy(store.get("tiny").directory / name, folder)
        with (folder / GRAPH).open("ab") as file:
            file.write(NO_VERSIONS)
    words = (
        "classify",
        str(owner.feeder / "full/0/1.jpg"),
        "--model",
        "feeder",
        "--config",
        str(owner.config),
    )
    done = run_incv3d(owner.state, *words)
    assert (
        done.returncode == 2
        and "feeder was taught on another tiny; teach it again: incv3d teach" in done.stderr
    )
    assert owner.teach("--name", "feeder").returncode == 0
    assert TaughtStore(owner.state).get("feeder").facts.base_sha256 != first
    assert run_incv3d(owner.state, *words).returncode == 0


def test_what_is_damaged_is_taught_again_and_replaced(owner: Owner) -> None:
    owner.teach(str(owner.feeder))
    (TaughtStore(owner.state).get("feeder").folder / "report.json").write_text("garbage")
    told = owner.teach("report", "feeder").stderr
    assert "is damaged" in told and "Traceback" not in told
    (owner.state / "taught/feeder/facts.json").write_text("garbage")
    done = owner.teach("--name", "feeder")
    assert done.returncode == 0, done.stderr
    assert owner.taught() == ["empty", "full"]


def test_test_pictures_that_do_not_fit_any_more_are_named_and_can_be_given_up(owner: Owner) -> None:
    tests = folder_of(owner.feeder.parent / "tests", {"empty": 2}, first=90)
    assert owner.teach(str(owner.feeder), "--test", str(tests)).returncode == 0
    (tests / "empty").rename(tests / "gone")
    refused = owner.teach("--name", "feeder")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"incv3d: test pictures: {tests}: `gone` is not a class of the pictures that teach (empty, full); "
        "give another --test FOLDER, or --test '' for none\n"
    )
    assert owner.teach("--name", "feeder", "--test", "").returncode == 0
    assert owner.teach("--name", "feeder").returncode == 0
    # So can the folder of pictures; there are no others here.
    assert "has no pictures yet" in owner.teach("", "--name", "feeder").stderr
