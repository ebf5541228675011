"""``incv3d model``, as a person types it; downloads by the real process from a real web server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import GOOD, archive
from graphs import attribute, dtype, field, integers, node, of_2015, relu
from incv3d.images.demo import demo_folder
from processes import DaemonProcess, environment, run_incv3d
from webserver import Site, serve, silence, web_server

WINDOW = integers("ksize", 1, 18, 14, 1) + integers("strides", 1, 18, 14, 1)
POOL = dtype("T") + WINDOW + attribute("padding", field(2, b"VALID"))
# 16 times 21 places of three channels are 1008 scores.
GRAPH = of_2015(node("mean", "AvgPool", "Mul", attributes=POOL) + relu("softmax", "mean"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    members = GOOD | {"classify_image_graph_def.pb": GRAPH, "unused": os.urandom(400_000)}
    with web_server({"/model.tgz": archive(tmp_path / "model.tgz", members).read_bytes()}) as site:
        yield site


def fetching(state: Path, site: Site) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "incv3d", "model", "fetch", "mine", "--url", site.url()]
    return subprocess.Popen(
        command, env=environment(state), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_fetch_leaves_no_model_and_the_next_one_resumes(tmp_path, site) -> None:
    state = tmp_path / "state"
    site.steps = [serve(stop_after=200_000, stall=True)]
    process = fetching(state, site)
    assert process.stderr and "of 0.4 MB" in process.stderr.readline()
    assert site.stalled.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    part = state / "downloads/mine.part"
    assert part.exists() and "mine" not in run_incv3d(state, "model", "list").stdout
    assert 0 < (kept := part.stat().st_size) <= 200_000
    done = run_incv3d(state, "model", "fetch", "mine", "--url", site.url())
    assert done.returncode == 0 and "fetched mine: 1008 outputs" in done.stdout, done.stderr
    assert site.ranges() == ["", f"bytes={kept}-"]
    assert run_incv3d(state, "model", "verify").stdout == "mine: ok\n" and not part.exists()
    again = run_incv3d(state, "model", "fetch", "mine", "--url", site.url())
    assert again.returncode == 0 and "mine has been in the store" in again.stdout and len(site.asked) == 2


def test_two_fetches_at_once_download_once(tmp_path, site) -> None:
    site.steps = [serve(stop_after=200_000, stall=True)]
    first = fetching(tmp_path / "state", site)
    assert site.stalled.wait(60)
    second = fetching(tmp_path / "state", site)
    assert second.stderr and "another fetch of mine is under way; waiting" in second.stderr.readline()
    site.released.set()
    for process, said in ((first, "fetched mine"), (second, "mine has been in the store since")):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and said in out, err
    assert site.ranges() == ["", "bytes=200000-"]  # both are the first one's, whose connection broke off


def test_without_a_network_the_way_by_hand_is_one_line(tmp_path) -> None:
    done = run_incv3d(tmp_path, "model", "fetch", "inception-v3", https_proxy="http://127.0.0.1:1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "no network: storage.googleapis.com: " in done.stderr
    assert done.stderr.endswith("copy it here, and run: incv3d model import FILE\n")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("proxy", ["nobody", "silent"])
def test_auto_does_without_inception_when_it_cannot_be_fetched_in_time(state, tmp_path, site, proxy) -> None:
    site.steps = [silence] * 5
    address = site.address if proxy == "silent" else "http://127.0.0.1:1"
    why = "the time limit was reached" if proxy == "silent" else "no network"
    daemon = DaemonProcess(state, tmp_path, INCV3D_FETCH_WAIT_S="1", https_proxy=address)
    try:
        line = daemon.wait_for("model efficientnet-lite0: chosen by `auto`")
        assert "because inception-v3 could not be fetched: " in line and why in line, line
        daemon.ready()
    finally:
        daemon.kill()


def test_a_known_model_that_is_not_in_the_store_is_an_error_with_the_fix(tmp_path) -> None:
    done = run_incv3d(tmp_path, "classify", "--model", "inception-v3", str(Path(__file__)))
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("fetch it: incv3d model fetch inception-v3")


def test_list_says_how_to_get_missing_models(state) -> None:
    lines = run_incv3d(state, "model", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == [
        "birds",
        "efficientnet-lite0",
        "inception-v3",
        "inception-v3-2016",
        "inception-v3-keras",
        "insects",
        "plants",
    ]
    assert "not in the store: incv3d model fetch inception-v3-2016" in lines[4]


def test_show_describes_stored_and_known_models(state) -> None:
    there = run_incv3d(state, "model", "show", "efficientnet-lite0").stdout
    assert "0 to 255 become -0.99219 to 1" in there and "coffee.jpg is `espresso` 0.92514" in there
    assert str(state / "models/efficientnet-lite0") in there and "prepared  yes" in there
    known = run_incv3d(state, "model", "show", "inception-v3", "--json").stdout
    facts = json.loads(known)
    assert facts["entry"]["archive_bytes"] == 88931400 and facts["stored"] == {}
    labels = run_incv3d(state, "model", "show", "efficientnet-lite0", "--labels").stdout.splitlines()
    assert labels[0] == "0\tn01440764\ttench, Tinca tinca" and len(labels) == 1000
    for words in (["inception-v3", "--labels"], ["nothing"]):
        done = run_incv3d(state, "model", "show", *words)
        assert done.returncode == 1 and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("spoiled", "finding"),
    [
        ("graph.pb", "damaged: its SHA-256 is"),
        ("labels.tsv", "damaged: its SHA-256 is"),
        ("prepared/weights.bin", "rm -r"),
        ("prepared/index.json", "rm -r"),
        ("manifest.json", "incv3d model remove"),
    ],
)
def test_verify_finds_what_was_damaged_and_says_what_to_do(state, tmp_path, spoiled, finding) -> None:
    shutil.copytree(state / "models", tmp_path / "models")
    assert run_incv3d(tmp_path, "model", "verify").stdout == "efficientnet-lite0: ok\n"
    path = next((tmp_path / "models/efficientnet-lite0").glob(spoiled))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    done = run_incv3d(tmp_path, "model", "verify", "efficientnet-lite0")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and finding in done.stderr, done.stderr


def test_remove_removes_what_a_download_left_too(tmp_path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/mine.part").write_bytes(b"half")
    assert run_incv3d(tmp_path, "model", "remove", "mine").stdout == "removed mine\n"
    assert not (tmp_path / "downloads/mine.part").exists()
    assert run_incv3d(tmp_path, "model", "remove", "mine").returncode == 1


def configured(folder: Path, name: str) -> str:
    path = folder / "incv3d.yaml"
    path.write_text(f"model: {{name: {name}}}\n")
    return str(path)


def test_prepare_has_the_configured_model_ready_to_run(state, tmp_path) -> None:
    done = run_incv3d(state, "model", "prepare", "--config", configured(tmp_path, "efficientnet-lite0"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("efficientnet-lite0 is ready for "), done.stdout


def test_prepare_fetches_a_known_model_that_is_named(tmp_path) -> None:
    words = ("model", "prepare", "--config", configured(tmp_path, "inception-v3"))
    done = run_incv3d(tmp_path, *words, https_proxy="http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.endswith("copy it here, and run: incv3d model import FILE\n"), done.stderr


def test_a_network_with_another_number_of_scores_is_rejected_on_import(tmp_path) -> None:
    few = of_2015(relu("softmax", "Mul"))
    path = archive(tmp_path / "few.tgz", GOOD | {"classify_image_graph_def.pb": few})
    done = run_incv3d(tmp_path / "state", "model", "import", str(path), "--name", "mine")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "`softmax:0` returns 268203 scores instead of 1008" in last, last
    assert "mine" not in run_incv3d(tmp_path / "state", "model", "list").stdout


def test_one_damaged_model_harms_no_other(state: Path, tmp_path: Path) -> None:
    shutil.copytree(state, tmp_path / "state")
    for name, manifest in (("inception-v3", "{"), ("mine", "[]")):
        folder = tmp_path / "state/models" / name
        folder.mkdir()
        (folder / "manifest.json").write_text(manifest)

    def run(*arguments: str, status: int = 0) -> str:
        done = run_incv3d(tmp_path / "state", *arguments)
        assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    listed = run("model", "list")
    assert "efficientnet-lite0" in listed and listed.count("damaged: ") == 2, listed
    assert "remove it: incv3d model remove mine" in listed
    verified = run("model", "verify", status=1)
    assert "efficientnet-lite0: ok" in verified and "inception-v3: " in verified, verified
    coffee = str(demo_folder() / "coffee.jpg")
    classified = run("classify", coffee)  # auto, which would take inception-v3
    assert "espresso" in classified and "inception-v3 cannot be used: " in classified, classified
    assert "there: efficientnet-lite0" in run("model", "show", "other", status=1)
    run("model", "remove", "mine")
    run("model", "remove", "inception-v3")
    assert "damaged: " not in run("model", "list")
