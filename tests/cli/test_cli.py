"""The command line, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from incv3d.cli import with_home
from incv3d.images.demo import demo_folder
from processes import DaemonProcess, environment, run_incv3d

CAT = demo_folder() / "cat.jpg"
CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    process = DaemonProcess(state, tmp_path_factory.mktemp("daemon"))
    yield process.ready()
    process.stop()


def test_help_imports_neither_tensorflow_nor_numpy() -> None:
    code = (
        "import sys\n"
        "from incv3d.cli import main\n"
        "sys.argv = ['incv3d', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'numpy', 'zmq', 'PIL'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "run" in done.stdout and "classify" in done.stdout
    assert done.stderr.strip() == "[]"


def test_classify_labels_images_in_process(state: Path) -> None:
    done = run_incv3d(state, "classify", str(CAT), str(demo_folder() / "coffee.jpg"))
    assert done.returncode == 0, done.stderr
    assert "espresso" in done.stdout and any(cat in done.stdout for cat in CATS)


def test_two_first_calls_at_once_both_get_their_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "incv3d", "classify", str(CAT), "--json"]
    both = [
        subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out)["predictions"][0]["label"] in CATS


def test_classify_gives_json_to_programs_and_takes_standard_input(state: Path) -> None:
    done = run_incv3d(state, "classify", "-", "--json", "--top-k", "2", stdin=CAT.read_bytes())
    answer = json.loads(done.stdout)
    assert len(answer["predictions"]) == 2 and answer["predictions"][0]["label"] in CATS


def test_classify_asks_a_running_daemon(state: Path, daemon: DaemonProcess) -> None:
    done = run_incv3d(state, "classify", str(CAT), "--connect", daemon.door, "--json")
    assert json.loads(done.stdout)["predictions"][0]["label"] in CATS


def test_classify_continues_after_a_bad_image_and_ends_with_status_1(state: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(CAT.read_bytes()[:2000])
    done = run_incv3d(state, "classify", str(bad), str(CAT))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{bad}: damaged JPEG")
    assert any(cat in done.stdout for cat in CATS)


def test_send_prints_labels_and_a_summary(state: Path, daemon: DaemonProcess) -> None:
    done = run_incv3d(
        state, "send", str(demo_folder()), "--connect", daemon.door, "--repeat", "2", "--concurrency", "3"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("coffee.jpg: espresso") == 2
    assert "8 images in" in done.stdout and "ok: 8; round trip best" in done.stdout


def test_send_counts_what_went_wrong(state: Path, daemon: DaemonProcess, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").write_bytes(CAT.read_bytes())
    done = run_incv3d(state, "send", str(tmp_path), "--connect", daemon.door, "--json")
    assert done.returncode == 1
    outcomes = json.loads(done.stdout)["outcomes"]
    assert {kind: outcome["count"] for kind, outcome in outcomes.items()} == {
        "bad_image": 1,
        "bad_request": 1,
        "ok": 1,
    }


def test_send_without_a_daemon_reports_it_and_does_not_hang(state: Path, tmp_path: Path) -> None:
    done = run_incv3d(state, "send", str(CAT), "--connect", f"ipc://{tmp_path}/nobody", "--timeout", "0.3")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("incv3d: no answer from ipc://")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["send", "/no/such/picture.jpg"], "/no/such/picture.jpg: no such file or folder"),
        (["classify", "/no/such/picture.jpg"], "/no/such/picture.jpg: no such file or folder"),
        (["classify", "x.jpg", "--connect", "nonsense"], "nonsense"),
        (["model", "import", "/no/such/file.tgz"], "/no/such/file.tgz"),
        (["model", "remove", "nothing"], "nothing"),
    ],
)
def test_failures_are_one_line_with_a_status(tmp_path: Path, words: list[str], complaint: str) -> None:
    if words[1] == "x.jpg":
        words = [words[0], str(CAT), *words[2:]]
    done = run_incv3d(tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and complaint in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["keys", "add", "../x"], "`../x` cannot be a client's name"),
        (["send", str(CAT), "--connect", "bad:address:x"], "bad:address:x: cannot connect: not an address"),
        (["send", str(CAT), "--connect", ""], "(empty): cannot connect: not an address"),
        (["classify", str(CAT), "--connect", ""], "(empty): cannot connect: not an address"),
        (["info", "--connect", ""], "(empty): cannot connect: not an address"),
        (["top", "--once", "--connect", "a:b:c"], "a:b:c: cannot connect: not an address"),
        (["model", "fetch", "own", "--url", "ftp://x/y"], "`ftp://x/y` is not a URL"),
        (["model", "fetch", "own", "--url", "http://x/y", "--sha256", "z"], "`z` is not a SHA-256"),
        (["model", "fetch", "../x", "--url", "http://x/y"], "`../x` is not a valid model name"),
        (["model", "fetch", "nosuch"], "`nosuch` is not a known model"),
    ],
)
def test_mistakes_in_the_command_line_are_one_line_and_status_2(
    tmp_path: Path, words: list[str], complaint: str
) -> None:
    done = run_incv3d(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("incv3d: ") and done.stderr.count("\n") == 1 and complaint in done.stderr


def test_check_config_reports_mistakes_with_line_and_key(tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("model:\n  name: auto\nintake:\n  queue_limit: 0\n")
    done = run_incv3d(tmp_path, "check-config", str(config))
    assert done.returncode == 2
    assert (
        done.stderr
        == f"incv3d: {config}:4: intake.queue_limit: must be a whole number from 1 to 10000, not `0`\n"
    )


def test_check_config_prints_json_for_a_value_that_cannot_be_used(tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("source: {type: webcam}\n")
    done = run_incv3d(tmp_path, "check-config", "--json", str(config))
    (mistake,) = json.loads(done.stdout)["mistakes"]
    assert done.returncode == 2 and mistake["what"].startswith(f"{config}:1: source.type: must be")


def test_check_config_takes_regular_files_only(tmp_path: Path) -> None:
    done = run_incv3d(tmp_path, "check-config", "/dev/null")
    assert (done.returncode, done.stderr) == (2, "incv3d: /dev/null: not a regular file\n")


def test_check_config_shows_every_key(tmp_path: Path) -> None:
    done = run_incv3d(tmp_path, "check-config", "--show")
    assert done.returncode == 0 and "warmup_runs: 10" in done.stdout


def test_the_stand_in_is_listed_and_gives_its_known_labels(standin: Path, shared: Path) -> None:
    assert "standin" in run_incv3d(standin, "model", "list").stdout
    expected = json.loads((shared / "models/expected.json").read_text())
    images = [str(shared / "images" / name) for name in list(expected)[:5]]
    done = run_incv3d(standin, "classify", "--model", "standin", "--json", *images)
    assert done.returncode == 0, done.stderr
    for line, top_five in zip(done.stdout.splitlines(), expected.values(), strict=False):
        assert [p["index"] for p in json.loads(line)["predictions"]] == [index for index, _, _ in top_five]


def test_info_names_tensorflow_as_the_library_itself_does(state: Path, daemon: DaemonProcess) -> None:
    facts = json.loads(run_incv3d(state, "info", "--json").stdout)
    assert facts["tensorflow"].startswith("2.") and any("CPU" in device for device in facts["devices"])
    running = json.loads(run_incv3d(state, "info", "--json", "--connect", daemon.door).stdout)
    assert running["session"]["version"] == facts["tensorflow"]
    assert running["session"]["binding"] == "C API" and running["model"] == "efficientnet-lite0"


def test_neither_the_daemon_nor_classify_imports_tensorflow(state: Path, daemon: DaemonProcess) -> None:
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "libtensorflow_cc.so.2" in maps
    assert "/tensorflow/python/" not in maps, "the Python package's own extensions are loaded"
    code = (
        "import sys\n"
        "from incv3d.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'tensorflow'))\n"
    )
    command = [sys.executable, "-c", code, "classify", str(CAT), "--json"]
    done = subprocess.run(
        command, env=environment(state), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_cameras_lists_cameras_and_the_libraries_that_are_missing(state: Path) -> None:
    done = run_incv3d(state, "cameras", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert isinstance(answer["cameras"], list)
    for note in answer["notes"]:
        assert "apt-get install" in note or "pip install" in note
    shown = run_incv3d(state, "cameras")
    assert shown.returncode == 0 and ("no cameras found" in shown.stdout) == (not answer["cameras"])


def test_a_snapshot_is_what_the_source_sees(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen.jpg"
    done = run_incv3d(state, "snapshot", "--source", str(CAT), "--settle", "0", str(out))
    assert done.returncode == 0, done.stderr
    with Image.open(out) as seen, Image.open(CAT) as cat:
        assert seen.format == "JPEG" and seen.size == cat.size
        difference = np.abs(np.asarray(seen, int) - np.asarray(cat.convert("RGB"), int))
    assert difference.mean() < 5


def test_a_snapshot_shows_its_labels(state: Path, tmp_path: Path) -> None:
    plain, labelled = tmp_path / "plain.jpg", tmp_path / "labelled.jpg"
    assert not run_incv3d(state, "snapshot", "--source", str(CAT), "--settle", "0", str(plain)).returncode
    done = run_incv3d(state, "snapshot", "--classify", "--source", str(CAT), "--settle", "0", str(labelled))
    assert done.returncode == 0, done.stderr
    assert any(cat in done.stdout for cat in CATS)
    with Image.open(plain) as before, Image.open(labelled) as after:
        changed = np.abs(np.asarray(before, int) - np.asarray(after, int)).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert rows.size and rows.max() < changed.shape[0] / 2 and columns.min() < changed.shape[1] / 10


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["x.jpg"], 1, "no source is configured"),
        (["x.jpg", "--source", "/nowhere"], 2, "/nowhere: no such file or folder"),
        (["x.jpg", "--source", "/dev/video99"], 1, "/dev/video99: no such device"),
        (["/nowhere/x.jpg", "--source", str(CAT)], 1, "/nowhere/x.jpg: cannot be written: No such file"),
    ],
)
def test_a_snapshot_that_cannot_be_taken_is_one_line(
    state: Path, tmp_path: Path, words, status: int, complaint: str
) -> None:
    words = [str(tmp_path / words[0]) if words[0] == "x.jpg" else words[0], *words[1:]]
    done = run_incv3d(state, "snapshot", "--settle", "0", *words)
    assert done.returncode == status
    assert done.stderr.startswith("incv3d: ") and done.stderr.count("\n") == 1 and complaint in done.stderr
    assert not list(tmp_path.iterdir()), "something was left behind"


def test_the_home_folder_is_found_where_the_shell_leaves_it(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = [
        "run",
        "--config=~/my.yaml",
        "~/pictures/*.jpg",
        "--source",
        "~",
        "a~b",
        "--bind=tcp://*:1",
        "x=~/y",
    ]
    assert with_home(words) == [
        "run", "--config=/home/me/my.yaml", "/home/me/pictures/*.jpg", "--source", "/home/me", "a~b",
        "--bind=tcp://*:1", "x=~/y",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "custom: {file: gone.pb}",
        "custom: {labels: gone.txt}",
        "http: {token_file: gone}",
        "source: {path: gone}",
    ],
)
def test_check_config_checks_that_files_exist(tmp_path: Path, text: str) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(f"\n{text}\n")
    done = run_incv3d(tmp_path, "check-config", str(config))
    key = text.replace(": {", ".").split(":")[0]
    assert done.returncode == 2
    assert f"{config}:2: {key}: {tmp_path}/gone" in done.stderr and "no such file" in done.stderr
