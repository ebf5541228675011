"""The real daemon: ``incv3d run`` as a process, spoken to over real sockets."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagezmq
import numpy as np
import pytest
import zmq
from PIL import Image

from incv3d.client import Client, NoAnswer, Refused
from incv3d.images.demo import demo_folder
from incv3d.sources.image_files import find_images
from processes import PATIENCE_S, DaemonProcess
from waiting import until

KEYS = (
    "ts window_s frames fps run_best_ms run_avg_ms run_p50_ms run_p95_ms run_p99_ms run_worst_ms",
    "queue_p95_ms decode_p95_ms total_p95_ms age_p95_ms dropped busy expired errors temp_c throttled rss_mb",
    "skipped",
)
CAT = demo_folder() / "cat.jpg"
CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []

    def make(*words: str, **extra: str) -> DaemonProcess:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(DaemonProcess(state, folder, *words, **extra))
        return started[-1]

    yield make
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon for all the tests that only ask it something."""
    process = DaemonProcess(state, tmp_path_factory.mktemp("daemon"))
    yield process.ready()
    assert process.stop() == 0, process.said


def fields(line: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)=("[^"]*"|\S*)', line))


def log_lines(daemon: DaemonProcess) -> list[dict[str, str]]:
    return [fields(line) for line in daemon.log.read_text().splitlines()]


def test_three_lines_of_pyzmq_get_a_label(daemon: DaemonProcess) -> None:
    with zmq.Context() as context:
        door = context.socket(zmq.REQ)
        door.connect(daemon.door)
        door.send(CAT.read_bytes())
        answer = json.loads(door.recv())
        door.close()
    assert answer["predictions"][0]["label"] in CATS, answer
    assert answer["model"] == "efficientnet-lite0" and answer["engine"] == "tensorflow"


def test_pictures_that_are_sent_at_once_get_each_their_own_labels(daemon: DaemonProcess) -> None:
    def classify(path: Path) -> dict[int, float]:
        with Client(daemon.door) as client:
            answer = client.classify(path)
        assert answer.predictions
        return {each.index: each.score for each in answer.predictions}

    pictures = find_images(str(demo_folder()))
    alone = [classify(path) for path in pictures]
    with ThreadPoolExecutor(4) as pool:
        for number, scores in enumerate(pool.map(classify, pictures * 5)):
            assert scores == pytest.approx(alone[number % len(pictures)], abs=1e-6)


def test_the_client_gets_typed_answers_and_refusals(daemon: DaemonProcess) -> None:
    with Client(daemon.door) as client:
        answer = client.classify(CAT, top_k=3)
        assert answer.predictions and len(answer.predictions) == 3
        assert answer.predictions[0].label in CATS
        with pytest.raises(Refused, match="bad_image: damaged JPEG"):
            client.classify(CAT.read_bytes()[:3000])
        assert client.ask("ping")["state"] == "ready"
        info = client.ask("info")
        assert info["session"]["version"].startswith("2.")
        assert info["session"]["runs_at_once"] == min(2, len(os.sched_getaffinity(0)))
        assert set(info["versions"]) == {"incv3d", "python", "numpy", "pyzmq", "zmq", "tensorflow"}
        stats = client.ask("stats")
        assert stats["outcomes"]["ok"] >= 1 and stats["outcomes"]["bad_image"] >= 1
        assert stats["health"] == "ok" and stats["unanswered"] == 0 and stats["queue_limit"] == 8
        assert stats["peers"]["seen"] >= 1 and stats["peers"]["waiting"] == 0
        assert stats["model"] == "efficientnet-lite0" and stats["uptime_s"] > 0
        assert stats["window"]["run"]["p50_ms"] > 0


def test_every_picture_format_and_raw_pixels_give_the_same_label(daemon: DaemonProcess) -> None:
    picture = Image.open(CAT).convert("RGB")
    pixels = np.asarray(picture)
    with zmq.Context() as context:
        door = context.socket(zmq.REQ)
        door.connect(daemon.door)
        for format_ in ("JPEG", "PNG", "WEBP", "BMP"):
            out = io.BytesIO()
            picture.save(out, format_)
            door.send(out.getvalue())
            assert json.loads(door.recv())["predictions"][0]["label"] in CATS, format_
        for encoding, raw in (("rgb24", pixels), ("bgr24", pixels[:, :, ::-1])):
            header = {"v": 1, "encoding": encoding, "width": picture.width, "height": picture.height}
            door.send_multipart([json.dumps(header).encode(), raw.tobytes()])
            assert json.loads(door.recv())["predictions"][0]["label"] in CATS, encoding
        door.close()


def test_an_unmodified_imagezmq_sender_gets_its_labels(daemon: DaemonProcess) -> None:
    pixels = np.asarray(Image.open(CAT).convert("RGB"))[:, :, ::-1]
    with imagezmq.ImageSender(connect_to=daemon.door) as sender:
        for reply in (
            sender.send_image("greenhouse", pixels),
            sender.send_jpg("greenhouse", CAT.read_bytes()),
        ):
            answer = json.loads(reply)
            assert answer["id"] == "greenhouse"
            assert answer["predictions"][0]["label"] in CATS


def test_imagezmq_sends_what_cameras_give(daemon: DaemonProcess) -> None:
    picture = Image.open(CAT).convert("RGB")
    bgr = np.asarray(picture)[:, :, ::-1]
    bgrx = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])  # picamera2's default, XBGR8888
    with imagezmq.ImageSender(connect_to=daemon.door) as sender:
        plain, with_fourth = (json.loads(sender.send_image("pi", pixels)) for pixels in (bgr, bgrx))
        assert with_fourth["predictions"] == plain["predictions"]
        assert plain["predictions"][0]["label"] in CATS
        for kind in ("PNG", "WEBP", "BMP"):
            out = io.BytesIO()
            picture.save(out, kind)
            answer = json.loads(sender.send_jpg("pi", out.getvalue()))
            assert answer["predictions"][0]["label"] in CATS, kind


def test_results_reach_subscribers(daemon: DaemonProcess) -> None:
    with zmq.Context() as context:
        subscriber = context.socket(zmq.SUB)
        subscriber.set(zmq.SUBSCRIBE, b"result.")
        subscriber.connect(daemon.results)
        with Client(daemon.door) as client:
            for _ in range(100):  # a subscription takes a moment to arrive
                client.classify(CAT)
                if subscriber.poll(50):
                    break
        topic, body = subscriber.recv_multipart(zmq.NOBLOCK)
        subscriber.close()
    assert topic == b"result.zmq" and json.loads(body)["predictions"][0]["label"] in CATS


def test_a_second_daemon_on_the_same_port_ends_with_one_line(start) -> None:
    with zmq.Context() as context:
        taken = context.socket(zmq.ROUTER)
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        second = start(INCV3D_BIND=f"tcp://127.0.0.1:{port}")
        assert second.wait() == 1
        taken.close()
    assert second.said[-1].startswith(f"incv3d: intake.bind: cannot listen on tcp://127.0.0.1:{port}")


def test_the_log_opens_with_what_runs_and_goes_on_with_rolling_figures(start, tmp_path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("latency: {interval_s: 0.2}\n")
    daemon = start("--config", str(config), "--warmup-runs", "2").ready()
    with Client(daemon.door) as client:
        for _ in range(5):
            client.classify(CAT)
    assert daemon.stop() == 0, daemon.said
    first, *others = log_lines(daemon)
    assert first["event"] == "start" and first["model"] == "efficientnet-lite0"
    assert {"version", "engine", "threads", "import_ms", "build_ms", "warmup_ms"} <= set(first)
    assert int(first["warmup_runs"]) <= 2
    assert others and all(list(line) == " ".join(KEYS).split() for line in others)
    last = others[-1]
    assert last["frames"] == "5" and float(last["run_p50_ms"]) > 0 and float(last["rss_mb"]) > 1


def test_nothing_but_the_latency_log_is_written_while_it_runs(start, state: Path, tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"latency: {{interval_s: 0.2}}\nsource: {{type: images, path: {CAT}, fps: 20}}\n")
    home = tmp_path / "home"
    home.mkdir()
    daemon = start("--config", str(config), HOME=str(home), TMPDIR=str(home)).ready()
    if not any("source camera: ok" in line for line in daemon.said):
        daemon.wait_for("source camera: ok")  # the last that it has to say
    until(lambda: len(log_lines(daemon)) > 1, "no line in the latency log")

    def files() -> dict[Path, tuple[int, int]]:
        found = [path for folder in (state, tmp_path) for path in folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    before, lines = files(), len(log_lines(daemon))
    until(lambda: len(log_lines(daemon)) > lines + 5, "no further lines in the latency log")
    after = files()
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == {
        daemon.log
    }
    opened = Path(f"/proc/{daemon.process.pid}/fd")
    written = {path for fd in opened.iterdir() if is_written(fd) and (path := fd.readlink()).is_file()}
    assert written <= {daemon.log}
    assert daemon.unread() == 0, "it says something though nothing has changed"
    assert daemon.stop() == 0


def is_written(fd: Path) -> bool:
    """Whether a descriptor of ``/proc/PID/fd`` is open for writing; proc(5)."""
    info = fd.parent.with_name("fdinfo") / fd.name
    flags = next(line.split()[1] for line in info.read_text().splitlines() if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def test_sighup_reopens_the_log(start, tmp_path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("latency: {interval_s: 3600}\n")
    daemon = start("--config", str(config)).ready()
    moved = daemon.log.rename(daemon.log.with_suffix(".old"))
    daemon.signal(signal.SIGHUP)
    assert daemon.stop() == 0
    assert "event=start" in moved.read_text()
    assert [list(line) for line in log_lines(daemon)] == [" ".join(KEYS).split()]


def test_bundled_photographs_are_replayed_as_a_demonstration(start) -> None:
    daemon = start("--demo")
    with zmq.Context() as context:
        subscriber = context.socket(zmq.SUB)
        subscriber.set(zmq.SUBSCRIBE, b"result.demo")
        subscriber.connect(daemon.results)
        assert subscriber.poll(PATIENCE_S * 1000)
        _, body = subscriber.recv_multipart()
        subscriber.close()
    result = json.loads(body)
    assert result["id"].endswith(".jpg") and result["age_ms"] > 0
    with Client(daemon.door) as client:
        assert client.classify(CAT).status == "ok", "the door is closed while pictures are replayed"
        assert client.ask("stats")["tuning"]["state"] == "off", "photographs of a demonstration calibrate"
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0, daemon.said


def test_a_stop_signal_while_it_starts_ends_it_at_once(start) -> None:
    daemon = start("--warmup-runs", "1000")
    daemon.wait_for("model efficientnet-lite0")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert not any("READY" in line for line in daemon.said)


def test_what_waits_at_the_stop_is_answered(start) -> None:
    daemon = start("--threads", "1").ready()
    with zmq.Context() as context:
        dealer = context.socket(zmq.DEALER)
        dealer.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
        dealer.connect(daemon.door)
        for number in range(8):
            dealer.send_multipart(
                [json.dumps({"v": 1, "id": number, "encoding": "jpeg"}).encode(), CAT.read_bytes()]
            )
        answers = [json.loads(dealer.recv())]
        daemon.signal(signal.SIGTERM)
        answers += [json.loads(dealer.recv()) for _ in range(7)]
        dealer.close()
    assert sorted(answer["id"] for answer in answers) == list(range(8))
    assert {answer.get("code", "ok") for answer in answers} <= {"ok", "shutting_down", "busy"}
    assert daemon.wait() == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("intake:\n  bnid: tcp://127.0.0.1:1\n", r"incv3d: .*:2: intake\.bnid: unknown key"),
        ("session: {threads: many}\n", r"incv3d: .*:1: session\.threads: must be a whole number from 0"),
        ("a: [\n", r"incv3d: .*: not valid YAML"),
    ],
)
def test_a_bad_configuration_ends_it_with_status_2_and_one_line(start, tmp_path, content, complaint) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text(content)
    daemon = start("--config", str(config))
    assert daemon.wait() == 2
    assert len(daemon.said) == 1 and re.match(complaint, daemon.said[0]), daemon.said


def test_a_model_that_is_not_there_ends_it_with_one_line(start) -> None:
    daemon = start("--model", "no-such-model")
    assert daemon.wait() == 2
    assert "no-such-model" in daemon.said[-1] and "incv3d model import" in daemon.said[-1]


def test_a_log_that_cannot_be_written_stops_nothing(start) -> None:
    daemon = start(INCV3D_LATENCY_LOG="/dev/full").ready()
    with Client(daemon.door) as client:
        assert client.classify(CAT).status == "ok"
    assert daemon.stop() == 0
    assert sum("cannot be written" in line for line in daemon.said) == 1, daemon.said


def test_a_client_of_nobody_is_told_so(tmp_path: Path) -> None:
    with (
        Client(f"ipc://{tmp_path}/nobody", timeout_s=0.2) as client,
        pytest.raises(NoAnswer, match="is incv3d running"),
    ):
        client.classify(CAT)


def test_the_stand_in_gives_its_known_top_five_over_zeromq(
    start, standin: Path, shared: Path, state: Path
) -> None:
    expected: dict[str, Any] = json.loads((shared / "models/expected.json").read_text())
    daemon = start("--model", "standin", STATE_DIRECTORY=str(standin)).ready()
    with Client(daemon.door) as client:
        for name, top_five in expected.items():
            predictions = client.classify(shared / "images" / name).predictions or []
            assert [p.index for p in predictions] == [index for index, _, _ in top_five], name
            scores = [p.score for p in predictions]
            assert scores == pytest.approx([score for _, _, score in top_five], abs=2e-5), name
            assert predictions[0].label == top_five[0][1].split(",")[0]
