"""A real daemon takes another head on the same base: one Session, and no frame lost or refused."""

from __future__ import annotations

import json
import re
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from incv3d.client import Client, Refused, results
from incv3d.models.taught.store import TaughtStore
from processes import PATIENCE_S, DaemonProcess
from taught_models import BASE, add_base, picture, teach
from tunable_models import film
from waiting import until

pytestmark = pytest.mark.slow
Start = Callable[..., DaemonProcess]
BOX = [0.0, 0.0, 1.0, 1.0]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a base, and `mine` taught on it."""
    state = tmp_path / "state"
    add_base(state)
    teach(state, "mine", ["empty", "full"])
    return state


class Taught:
    """A daemon, its file of settings, and two clients that ask it all the time."""

    def __init__(self, state: Path, folder: Path, name: str = BASE, **sections: dict[str, Any]) -> None:
        self.sections = {"session": {"engine": "litert", "tune": False}, **sections}
        self.path = folder / "incv3d.yaml"
        self.configure(name)
        self.daemon = DaemonProcess(state, folder, "--config", str(self.path)).ready()
        self.senders = [Sender(self.daemon.door), Sender(self.daemon.door)]

    def configure(self, model: str, **sections: dict[str, Any]) -> None:
        self.sections |= sections
        self.path.write_text(yaml.safe_dump({"model": {"name": model}, **self.sections}))

    def reload(self, words: str) -> str:
        """Send SIGHUP, and return the line of the log with `words`."""
        self.daemon.signal(signal.SIGHUP)
        return self.daemon.wait_for(words)

    def label(self, **asked: int) -> str:
        with Client(self.daemon.door) as client:
            return (client.classify(picture(1), **asked).predictions or [])[0].label

    def ask(self, operation: str) -> dict[str, Any]:
        with Client(self.daemon.door) as client:
            return client.ask(operation)  # type: ignore[arg-type]

    def stop(self) -> int:
        """Stop the clients, and then the daemon; return its exit status."""
        for sender in self.senders:
            sender.stop()
        return self.daemon.stop()

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
        self.daemon.kill()


class Sender:
    """A client that sends pictures one after the other, and keeps what it was answered."""

    def __init__(self, address: str) -> None:
        self.sent = 0
        self.models: list[str | None] = []
        self.refused: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(address,))
        self._thread.start()

    def _send(self, address: str) -> None:
        with Client(address) as client:
            while not self._stopping.wait(0.005):
                self.sent += 1
                try:
                    answer = client.classify(picture(1))
                except Refused as refusal:
                    self.refused.append(str(refusal))
                else:
                    assert answer.predictions
                    is_taught = not answer.predictions[0].label.startswith("class ")
                    assert is_taught == (answer.model != BASE), "labels and name belong together"
                    self.models.append(answer.model)

    def stop_after(self, model: str) -> None:
        """Stop after an answer of `model`."""
        until(lambda: self.models[-1] == model, f"an answer of {model}")
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., Taught]]:
    started: list[Taught] = []

    def make(**sections: Any) -> Taught:
        started.append(Taught(state, tmp_path, **sections))
        return started[-1]

    yield make
    for each in started:
        each.close()


def test_base_to_head_to_new_head_and_back_on_one_session_without_a_lost_frame(
    start: Callable[..., Taught], state: Path
) -> None:
    taught = start(events={"allow": ["class 1", "class 2"], "zmq": True})
    session = taught.ask("info")["session"]
    taught.configure("mine", events={"allow": ["full", "unknown"], "zmq": True})
    line = taught.reload("taught: mine")
    assert re.search(r"mine on tiny, head [0-9a-f]{8}: empty, full$", line), line
    taught.daemon.wait_for("watching 2 labels")
    assert taught.label() == "full"
    found = taught.ask("info")
    assert found["model"] == "mine" and found["session"] == session
    (facts,) = found["taught"]
    assert (facts["base"], facts["classes"]) == (BASE, ["empty", "full"])
    taught.daemon.wait_for("full entered")

    teach(state, "mine", ["nothing", "full", "half"])
    taught.reload("head ")
    assert taught.ask("info")["taught"][0]["classes"] == ["nothing", "full", "half"]
    TaughtStore(state).revert("mine")
    taught.reload("head ")
    assert taught.ask("info")["taught"][0]["head"] == facts["head"]
    taught.reload("has no changes")

    taught.configure(BASE, events={"allow": ["class *"], "zmq": True})
    taught.reload("watching 5 labels")
    assert taught.label().startswith("class ")
    for sender in taught.senders:
        sender.stop_after(BASE)
        assert not sender.refused and len(sender.models) == sender.sent > 10
        assert [*dict.fromkeys(sender.models)] == [BASE, "mine"]
    outcomes = {name: count for name, count in taught.ask("stats")["outcomes"].items() if count}
    assert outcomes.keys() == {"ok"}
    assert taught.ask("info")["session"] == session, "import_ms and build_ms are those of the first"
    assert taught.stop() == 0
    starts = re.findall(
        r"event=(\w+).* model=(\S+)(?:.* base=(\S+) heads=(\S+))?", taught.daemon.log.read_text()
    )
    head = f"mine:{facts['head']}"
    assert starts[:2] == [("start", BASE, "", ""), ("reload", "mine", BASE, head)]
    assert [each[:2] for each in starts] == [("start", BASE), *[("reload", "mine")] * 3, ("reload", BASE)]


def test_a_damaged_new_head_leaves_the_old_one_in_force(start: Callable[..., Taught], state: Path) -> None:
    taught = start()
    taught.configure("mine")
    taught.reload("taught: mine")
    new = teach(state, "mine", ["a", "b"])
    (new.folder / "head.npz").write_bytes(b"half a")
    assert "head.npz: damaged" in taught.reload("the new configuration is rejected")
    assert taught.label() == "full"
    wrong = msgspec.structs.replace(new.facts, base_sha256="0" * 64)
    TaughtStore(state).save(teach(state, "mine", ["a", "b"]).head(), wrong, b"{}")
    assert "mine was taught on another tiny" in taught.reload("the new configuration is rejected")
    assert taught.label() == "full" and taught.stop() == 0


def test_a_region_takes_a_model_of_its_own_and_its_source_stays_open(
    start: Callable[..., Taught], tmp_path: Path
) -> None:
    source = {"type": "images", "path": str(film(tmp_path / "film", 2)), "fps": 20, "name": "porch"}
    taught = start(source={**source, "regions": {"feeder": BOX, "door": BOX}})
    opened = len([line for line in taught.daemon.said if "source porch: regions" in line])
    regions = {"feeder": {"box": BOX, "model": "mine"}, "door": BOX}
    taught.configure(BASE, source={**source, "regions": regions})
    taught.reload("taught: mine on tiny")
    seen: dict[str, set[str]] = {}
    for published in results(taught.daemon.results):
        answer = published.answer
        assert answer.predictions
        seen.setdefault(f"{published.source} {answer.model}", set()).add(answer.predictions[0].label)
        if seen.get("porch.feeder mine") == {"empty", "full"} and f"porch.door {BASE}" in seen:
            break
    assert all(label.startswith("class ") for label in seen[f"porch.door {BASE}"])
    assert taught.label().startswith("class "), "requests are answered by the base"
    assert taught.stop() == 0
    assert len([line for line in taught.daemon.said if "source porch: regions" in line]) == opened


def test_unknown_is_a_label_like_any_other(start: Callable[..., Taught], state: Path, tmp_path: Path) -> None:
    teach(state, "strict", ["empty", "full"], threshold=2, is_golden=False)
    saving = {"folder": str(tmp_path / "saved"), "min_free_bytes": 0}
    taught = start(http={"bind": "127.0.0.1:0"})
    url = next(line for line in taught.daemon.said if "health and metrics at" in line).split()[-1]
    taught.configure("strict", events={"allow": ["unknown"], "zmq": True}, saving=saving)
    taught.reload("taught: strict")
    taught.daemon.wait_for("zmq: unknown entered")
    assert taught.label() == "unknown"
    (image,) = until(lambda: list((tmp_path / "saved").rglob("*unknown*.jpg")), "a saved image")[:1]
    assert image.stat().st_size
    (present,) = taught.ask("stats")["events"]["present"]
    assert (present["label"], present["synset"]) == ("unknown", "")
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    assert re.search(r'incv3d_model_info\{base="tiny",.*model="strict"', text)
    asked = urllib.request.Request(f"{url}/classify?top_k=1&base_top_k=1", picture(1))
    with urllib.request.urlopen(asked) as answer:
        found = json.load(answer)
    assert [each["label"] for each in found["predictions"]] == ["unknown"] and len(found["base"]) == 1
    assert taught.stop() == 0


def test_the_daemon_that_tunes_its_base_keeps_the_head(start: Callable[..., Taught], tmp_path: Path) -> None:
    source = {"type": "images", "path": str(film(tmp_path / "film", 150)), "fps": 50, "name": "porch"}
    taught = start(name="mine", source=source, session={"engine": "litert", "tune": True, "tune_over_s": 3})
    taught.daemon.wait_for("tuned: litert int8")
    found = taught.ask("info")
    assert (found["model"], found["session"]["precision"]) == ("mine", "int8")
    assert found["taught"][0]["classes"] == ["empty", "full"] and taught.label() == "full"
    for sender in taught.senders:
        sender.stop()
        assert not sender.refused and {*sender.models} == {"mine"} and len(sender.models) == sender.sent
    assert taught.stop() == 0


def test_the_base_is_in_the_answer_if_it_is_asked_for(start: Callable[..., Taught]) -> None:
    taught = start()
    taught.configure("mine")
    taught.reload("taught: mine")
    with Client(taught.daemon.door) as client:
        answer = client.classify(picture(1), base_top_k=2)
        assert answer.predictions and answer.predictions[0].label == "full"
        assert answer.base and [each.label[:6] for each in answer.base] == ["class "] * 2
        assert client.classify(picture(1)).base is None
    assert json.loads(msgspec.json.encode(answer))["base"][0]["label"].startswith("class ")
