"""The real daemon behind CURVE keys: who is let in, who is not, and what each is told."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from doubles import jpeg
from incv3d.client import Client, NoAnswer, NoEntry, results
from incv3d.protocol.curve_keys import ClientKey, KeyPair, new_pair, read_client_key
from incv3d.transports.zeromq.key_store import KeyStore
from processes import PATIENCE_S, DaemonProcess, ScriptedDaemon, environment, run_incv3d

PING = b'{"v":1,"op":"ping"}'
SILENCE_MS = 700
"""How long to listen for what is not to come; an answer takes a millisecond or two."""


class KeyedDoor:
    """A daemon that wants keys, on TCP, and its key ring."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", run_ms: int = 0) -> None:
        self.folder = folder
        self.ring = KeyStore(folder / "keys")
        self.ring.new()
        self.address, self.results = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        config = folder / "incv3d.yaml"
        config.write_text(f"intake: {{keys: {folder}/keys}}\ndaemon: {{log_level: debug}}\n")
        bind = {
            "INCV3D_BIND": self.address.replace("127.0.0.1", host),
            "INCV3D_PUBLISH": self.results.replace("127.0.0.1", host),
        }
        self.daemon = ScriptedDaemon(folder, folder, str(config), str(run_ms), **bind)

    def key(self, name: str) -> Path:
        """The file of a client that is let in from now on."""
        path = self.folder / f"{name}.key"
        self.ring.hand_out(name, path)
        return path


def free_port() -> int:
    """A port that the kernel does not give to connections of its own choice meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Callable[..., KeyedDoor]]:
    made: list[KeyedDoor] = []

    def make(**settings: Any) -> KeyedDoor:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(KeyedDoor(folder, **settings))
        made[-1].daemon.ready()
        return made[-1]

    yield make
    for door in made:
        door.daemon.kill()


@pytest.fixture
def connect() -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    with zmq.Context() as context, contextlib.ExitStack() as stack:

        def make(kind: int, address: str, key: ClientKey | None = None) -> zmq.Socket[bytes]:
            made = stack.enter_context(context.socket(kind))
            made.set(zmq.LINGER, 0)
            made.set(zmq.RCVTIMEO, PATIENCE_S * 1000)
            if key:
                key.lock(made)
            if kind == zmq.SUB:
                made.set(zmq.SUBSCRIBE, b"")
            made.connect(address)
            return made

        yield make


def assert_it_serves(door: KeyedDoor, key: Path) -> None:
    with Client(door.address, PATIENCE_S, key=key) as client:
        assert client.classify(jpeg()).status == "ok"


def wait_subscribed(door: KeyedDoor, subscriber: zmq.Socket[bytes], client: Client) -> None:
    """A subscription takes a moment to arrive: classify until a result does."""
    deadline = time.monotonic() + PATIENCE_S
    while not subscriber.poll(20):
        assert time.monotonic() < deadline, "no result was published"
        client.classify(jpeg())
    while subscriber.poll(50):
        subscriber.recv_multipart()


def eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, f"it never came about that {what}"
        time.sleep(0.005)


def ask_in_vain(dealer: zmq.Socket[bytes]) -> None:
    """A socket that was turned away has nowhere to put a message: to send would wait for ever."""
    with contextlib.suppress(zmq.Again):
        dealer.send(PING, zmq.NOBLOCK)


def strangers(door: KeyedDoor, gate: Path) -> dict[str, ClientKey | None]:
    """Everybody who is to get nothing."""
    known = read_client_key(gate)
    revoked = door.key("revoked")
    door.ring.revoke("revoked")
    return {
        "no key": None,
        "an unknown key": ClientKey(new_pair(), known.server),
        "a known key and the wrong server's": ClientKey(known.pair, new_pair().public),
        "a revoked key": read_client_key(revoked),
        "the server's own key": ClientKey(door.ring.server(), known.server),
    }


def test_who_has_a_key_is_answered_and_gets_the_results(keyed, connect) -> None:
    door = keyed()
    gate = door.key("gate")
    subscriber = connect(zmq.SUB, door.results, read_client_key(gate))
    with Client(door.address, PATIENCE_S, key=gate) as client:
        wait_subscribed(door, subscriber, client)
        client.classify(jpeg())
        topic, body = subscriber.recv_multipart()
        assert topic == b"result.zmq" and json.loads(body)["status"] == "ok"
        assert client.ask("stats")["keys"] == {"clients": 1, "turned_away": 0}


def test_ten_lines_of_pyzmq_with_a_key_get_a_label(keyed, tmp_path) -> None:
    keyed_door = keyed()
    keyed_door.key("gate")
    address, key_file, picture = keyed_door.address, keyed_door.folder / "gate.key", tmp_path / "cat.jpg"
    picture.write_bytes(jpeg())

    keys = dict(re.findall(r'(\w+)-key = "(.+)"', key_file.read_text()))
    door = zmq.Context().socket(zmq.REQ)
    door.curve_publickey = keys["public"].encode()
    door.curve_secretkey = keys["secret"].encode()
    door.curve_serverkey = keys["server"].encode()
    door.connect(address)
    door.send(picture.read_bytes())
    answer = json.loads(door.recv())
    door.context.destroy(linger=0)
    assert answer["predictions"][0]["label"] == "label 1", answer


def test_strangers_get_no_answer_and_no_result(keyed, connect) -> None:
    door = keyed()
    gate = door.key("gate")
    sockets = []
    for who, key in strangers(door, gate).items():
        dealer, subscriber = connect(zmq.DEALER, door.address, key), connect(zmq.SUB, door.results, key)
        ask_in_vain(dealer)
        sockets += [(who, dealer), (who, subscriber)]
    friend = connect(zmq.SUB, door.results, read_client_key(gate))
    with Client(door.address, PATIENCE_S, key=gate) as client:
        wait_subscribed(door, friend, client)
        for _ in range(20):
            client.classify(jpeg())
        assert friend.poll(PATIENCE_S * 1000)
        poller = zmq.Poller()
        for _, each in sockets:
            poller.register(each, zmq.POLLIN)
        heard = dict(poller.poll(SILENCE_MS))
        assert not [who for who, each in sockets if each in heard]
        assert client.ask("stats")["peers"]["seen"] == 1, "a stranger's request came through"
        assert client.ask("stats")["keys"]["turned_away"] >= 3


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("no key", "the daemon requires a key: --key FILE"),
        ("an unknown key", "the daemon does not know this key"),
        ("a revoked key", "the daemon does not know this key"),
        ("a known key and the wrong server's", "it belongs to another daemon"),
    ],
)
def test_a_stranger_is_told_at_once_what_is_wrong(keyed, tmp_path, who: str, words: str) -> None:
    door = keyed()
    key = strangers(door, door.key("gate"))[who]
    file = key and write_key(tmp_path / "stranger.key", key)
    started = time.monotonic()
    with Client(door.address, PATIENCE_S, retries=5, key=file) as client:
        for _ in range(2):
            with pytest.raises(NoEntry, match=words):
                client.classify(jpeg())
    with pytest.raises(NoEntry, match=words):
        next(results(door.results, key=file))
    assert time.monotonic() - started < PATIENCE_S / 4, "it waited for its timeout"


def write_key(path: Path, key: ClientKey) -> Path:
    path.write_text(
        f'server-key = "{key.server.decode()}"\npublic-key = "{key.pair.public.decode()}"\n'
        f'secret-key = "{key.pair.secret.decode()}"\n'
    )
    path.chmod(0o600)
    return path


def test_a_key_for_a_daemon_without_keys_is_said_so(keyed, tmp_path) -> None:
    key = keyed().key("gate")
    (tmp_path / "plain.yaml").write_text("{}")
    address = f"tcp://127.0.0.1:{free_port()}"
    plain = ScriptedDaemon(tmp_path, tmp_path, str(tmp_path / "plain.yaml"), INCV3D_BIND=address)
    try:
        plain.ready()
        with (
            Client(address, PATIENCE_S, key=key) as client,
            pytest.raises(NoEntry, match=r"without the key|does not use keys"),
        ):
            client.ask("ping")
        with Client(address, PATIENCE_S) as client:
            assert "keys" not in client.ask("stats")
    finally:
        plain.kill()


def test_a_key_for_nobody_is_an_ordinary_silence(tmp_path, keyed) -> None:
    key = keyed().key("gate")
    with (
        Client(f"tcp://127.0.0.1:{free_port()}", 0.5, key=key) as client,
        pytest.raises(NoAnswer, match="nothing listens there"),
    ):
        client.ask("ping")


def test_a_client_that_is_added_comes_in_without_a_restart(keyed) -> None:
    door = keyed()
    assert any("no client has a key yet" in line for line in door.daemon.said)
    for name in ("gate", "shed", "barn"):  # one right after the other, within a tick of the file's clock
        assert_it_serves(door, door.key(name))
    door.daemon.wait_for("clients let in from now on: barn")


def test_a_client_that_was_turned_away_comes_in_once_it_is_added(keyed, tmp_path) -> None:
    door = keyed()
    pair = new_pair()
    file = write_key(tmp_path / "own.key", ClientKey(pair, door.ring.server_public()))
    with Client(door.address, PATIENCE_S, key=file) as client:
        with pytest.raises(NoEntry):
            client.ask("ping")
        door.ring.add("own", pair.public.decode())
        assert client.ask("ping")["state"] == "ready"


def test_who_is_revoked_while_connected_is_cut_off_and_the_others_are_not(keyed, connect) -> None:
    door = keyed()
    gate, shed = door.key("gate"), door.key("shed")
    subscribers = [connect(zmq.SUB, door.results, read_client_key(key)) for key in (gate, shed)]
    idle = connect(zmq.DEALER, door.address, read_client_key(shed))
    idle.send(PING)
    idle.recv()
    with (
        Client(door.address, PATIENCE_S, key=gate) as friend,
        Client(door.address, PATIENCE_S, key=shed) as revoked,
    ):
        assert revoked.classify(jpeg()).status == "ok"
        for subscriber in subscribers:
            wait_subscribed(door, subscriber, friend)
        door.ring.revoke("shed")
        door.daemon.wait_for("clients let in no more: shed")
        with pytest.raises((NoEntry, NoAnswer), match=r"does not know this key|connection was lost"):
            revoked.classify(jpeg())
        with pytest.raises(NoEntry, match="does not know this key"):
            revoked.classify(jpeg())
        ask_in_vain(idle)
        wait_subscribed(door, subscribers[0], friend)
        while subscribers[1].poll(0):
            subscribers[1].recv_multipart()  # what came before it was revoked
        for _ in range(10):
            assert friend.classify(jpeg()).status == "ok"
        assert subscribers[0].poll(PATIENCE_S * 1000)
        assert not subscribers[1].poll(SILENCE_MS), "a revoked subscriber got a result"
        assert not idle.poll(0), "a revoked client got an answer"
        assert friend.ask("stats")["unanswered"] == 0


def test_an_answer_under_way_does_not_reach_who_was_revoked_meanwhile(keyed, connect) -> None:
    door = keyed(run_ms=4000)
    gate, shed = door.key("gate"), door.key("shed")
    dealer = connect(zmq.DEALER, door.address, read_client_key(shed))
    dealer.send(PING)
    dealer.recv()
    with Client(door.address, PATIENCE_S, key=gate) as friend:
        friend.ask("ping")
        dealer.send(jpeg())
        eventually(lambda: friend.ask("stats")["unanswered"] == 1, "the request was there")
        door.ring.revoke("shed")
        door.daemon.wait_for("clients let in no more: shed")
        eventually(lambda: friend.ask("stats")["unanswered"] == 0, "the run was over")
        assert friend.ask("stats")["outcomes"]["ok"] == 1
        assert not dealer.poll(SILENCE_MS)


def test_a_client_waiting_for_its_answer_is_told_that_it_was_revoked(keyed) -> None:
    door = keyed(run_ms=40_000)
    shed = door.key("shed")
    errors: list[Exception] = []

    def wait() -> None:
        with Client(door.address, PATIENCE_S, retries=1, key=shed) as client:
            try:
                client.classify(jpeg())
            except NoEntry as error:
                errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    door.daemon.wait_for("clients let in from now on: shed")
    gate = door.key("gate")
    with Client(door.address, PATIENCE_S, key=gate) as friend:
        eventually(lambda: friend.ask("stats")["unanswered"] == 1, "the request was there")
    door.ring.revoke("shed")
    waiting.join()
    assert errors and "does not know this key" in str(errors[0])


def test_a_name_that_was_revoked_and_given_again_does_not_let_its_old_key_in(keyed) -> None:
    door = keyed()
    old = door.key("gate")
    with Client(door.address, PATIENCE_S, key=old) as client:
        assert client.ask("ping")
        door.ring.revoke("gate")
        door.ring.hand_out("gate", door.folder / "new.key")
        with pytest.raises((NoAnswer, NoEntry)):
            client.ask("ping")
        with pytest.raises(NoEntry):
            client.ask("ping")
    assert_it_serves(door, door.folder / "new.key")


def test_sighup_reads_files_that_were_written_over_in_their_place(keyed, tmp_path) -> None:
    door = keyed()
    old = door.key("gate")
    assert_it_serves(door, old)
    pair = new_pair()
    time.sleep(1.5)  # the second look after a change is over
    (door.ring.folder / "clients/gate.key").write_text(f'public-key = "{pair.public.decode()}"\n')
    door.daemon.signal(signal.SIGHUP)
    door.daemon.wait_for("clients let in no more: gate")
    new = write_key(tmp_path / "new.key", ClientKey(pair, read_client_key(old).server))
    assert_it_serves(door, new)
    with Client(door.address, PATIENCE_S, key=old) as client, pytest.raises(NoEntry):
        client.ask("ping")


def test_keys_that_cannot_be_read_any_more_change_nothing(keyed) -> None:
    door = keyed()
    gate = door.key("gate")
    assert_it_serves(door, gate)
    clients = door.ring.folder / "clients"
    clients.rename(door.folder / "aside")
    clients.write_text("not a folder")
    door.daemon.wait_for("the clients stay those that they were")
    assert_it_serves(door, gate)
    clients.unlink()
    door.daemon.wait_for("clients let in no more: gate")
    with Client(door.address, PATIENCE_S, key=gate) as client, pytest.raises(NoEntry):
        client.ask("ping")
    (door.folder / "aside").rename(clients)
    assert_it_serves(door, gate)


def test_on_all_addresses_the_results_come_back_after_somebody_was_revoked(keyed, connect) -> None:
    door = keyed(host="*")
    gate = door.key("gate")
    subscriber = connect(zmq.SUB, door.results, read_client_key(gate))
    with Client(door.address, PATIENCE_S, key=gate) as client:
        for number in range(5):
            wait_subscribed(door, subscriber, client)
            door.key(f"guest{number}")
            door.daemon.wait_for(f"clients let in from now on: guest{number}")
            door.ring.revoke(f"guest{number}")
            door.daemon.wait_for(f"clients let in no more: guest{number}")
        wait_subscribed(door, subscriber, client)
        assert client.ask("stats")["health"] == "ok"


def test_strangers_who_come_and_go_leave_nothing_behind(keyed, connect) -> None:
    door = keyed()
    gate = door.key("gate")
    assert_it_serves(door, gate)
    fds = Path(f"/proc/{door.daemon.process.pid}/fd")
    before = len(list(fds.iterdir()))
    unknown = ClientKey(new_pair(), read_client_key(gate).server)
    with zmq.Context() as context:
        for number in range(300):
            with context.socket(zmq.DEALER) as dealer:
                dealer.set(zmq.LINGER, 0)
                if number % 2:
                    unknown.lock(dealer)
                monitor = dealer.get_monitor_socket(zmq.Event.DISCONNECTED)
                dealer.connect(door.address)
                assert monitor.poll(PATIENCE_S * 1000), "a stranger was not hung up on"
                dealer.disable_monitor()
                monitor.close()
    assert_it_serves(door, gate)
    eventually(lambda: len(list(fds.iterdir())) <= before, "the descriptors were given back")
    told = [line for line in door.daemon.said if "turned away a client at 127.0.0.1" in line]
    assert door.daemon.stop() == 0
    told += [line for line in door.daemon.said if "turned away a client at 127.0.0.1" in line]
    assert len(set(told)) == 1, "the log is filled by strangers"


def test_no_key_is_in_the_log(keyed, tmp_path) -> None:
    door = keyed()
    gate = door.key("gate")
    assert_it_serves(door, gate)
    others = [key for key in strangers(door, gate).values() if key]
    for number, key in enumerate(others):
        file = write_key(tmp_path / f"{number}.key", key)
        with Client(door.address, PATIENCE_S, key=file) as client, pytest.raises(NoEntry):
            client.ask("ping")
    assert door.daemon.stop() == 0
    said = "\n".join(door.daemon.said)
    pairs: list[KeyPair] = [door.ring.server(), *(key.pair for key in others)]
    for pair in pairs:
        assert pair.public.decode() not in said and pair.secret.decode() not in said


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "incv3d.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("key", ["bind", "publish"])
def test_an_address_for_other_machines_without_keys_is_refused_with_both_ways_out(
    settings, tmp_path, key: str
) -> None:
    config = settings(f"intake:\n  {key}: tcp://0.0.0.0:5999\n")
    for words in (["check-config"], ["run"]):
        done = run_incv3d(tmp_path, *words, "--config", str(config))
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"incv3d: {config}:2: intake.{key}: other machines can connect to")
        assert "incv3d keys new" in done.stderr and "intake.insecure: true" in done.stderr
    done = run_incv3d(tmp_path, "run", "--config", str(settings("{}")), "--bind", "tcp://*:5999")
    assert done.returncode == 2
    assert done.stderr.startswith("incv3d: the command line (intake.bind): other machines can connect")


def test_what_is_insecure_on_purpose_is_said_at_every_start(settings, state, tmp_path) -> None:
    door, publish = f"tcp://0.0.0.0:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    config = settings(f"intake: {{bind: '{door}', publish: '{publish}', insecure: true}}\n")
    for _ in range(2):
        daemon = DaemonProcess(
            state, tmp_path, "--config", str(config), INCV3D_BIND=door, INCV3D_PUBLISH=publish
        )
        try:
            warning = daemon.wait_for("intake.insecure")
            assert "WARNING" in warning and door in warning and publish not in warning
            daemon.ready()
            with Client(door.replace("0.0.0.0", "127.0.0.1"), PATIENCE_S) as client:
                assert client.ask("ping")["state"] == "ready"
            assert daemon.stop() == 0
        finally:
            daemon.kill()


def test_the_commands_take_a_key(keyed, state, tmp_path) -> None:
    door = keyed()
    gate = door.key("gate")
    (tmp_path / "cat.jpg").write_bytes(jpeg())
    connect = ["--connect", door.address]
    for words in (["send", str(tmp_path / "cat.jpg")], ["classify", str(tmp_path / "cat.jpg")], ["info"]):
        done = run_incv3d(state, *words, *connect, "--key", str(gate))
        assert done.returncode == 0, done.stderr
        done = run_incv3d(state, *words, *connect, INCV3D_KEY=str(gate))
        assert done.returncode == 0, done.stderr
        done = run_incv3d(state, *words, *connect)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "the daemon requires a key: --key FILE" in done.stderr
        done = run_incv3d(state, *words, *connect, "--key", str(tmp_path / "gone.key"))
        assert done.returncode == 1
        assert done.stderr == f"incv3d: {tmp_path}/gone.key: cannot be read: No such file or directory\n"


def test_a_load_whose_key_is_revoked_ends_with_its_summary_and_the_reason(keyed, tmp_path) -> None:
    door = keyed()
    shed = door.key("shed")
    (tmp_path / "cat.jpg").write_bytes(jpeg())
    command = [sys.executable, "-m", "incv3d", "send", str(tmp_path), "--connect", door.address]
    process = subprocess.Popen(
        [*command, "--key", str(shed), "--duration", "600", "--quiet"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Client(door.address, PATIENCE_S, key=door.key("gate")) as friend:
        eventually(lambda: friend.ask("stats")["outcomes"].get("ok", 0) >= 3, "frames were classified")
    door.ring.revoke("shed")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "labels per second" in out and "ok: " in out
    assert err.count("\n") == 1 and "the daemon does not know this key" in err


def test_a_new_configuration_whose_keys_are_not_there_is_refused(settings, state, tmp_path) -> None:
    config = settings("{}")
    daemon = DaemonProcess(state, tmp_path, "--config", str(config))
    try:
        daemon.ready()
        config.write_text(f"model: {{top_k: 2}}\nintake: {{keys: {tmp_path}/none}}\n")
        daemon.signal(signal.SIGHUP)
        said = daemon.wait_for("the new configuration is refused")
        assert f"{config}:2: intake.keys: there are no keys in {tmp_path}/none" in said
        assert daemon.stop() == 0
    finally:
        daemon.kill()
