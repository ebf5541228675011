"""The keys in their files, and ``incv3d keys``."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth

from incv3d.protocol.curve_keys import KeyFileError, KeyPair, new_pair, read_client_key
from incv3d.transports.zeromq.key_store import KeyStore
from processes import run_incv3d


@pytest.fixture
def ring(tmp_path: Path) -> KeyStore:
    found = KeyStore(tmp_path / "etc" / "keys")
    found.new()
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(ring: KeyStore) -> set[str]:
    return {client.name for client in ring.clients().values()}


def test_a_client_gets_one_file_with_all_that_it_needs(ring: KeyStore, tmp_path: Path) -> None:
    ring.issue("gate", tmp_path / "gate.key")
    key = read_client_key(tmp_path / "gate.key")
    assert key.server == ring.server().public
    assert zmq.curve_public(key.pair.secret) == key.pair.public
    assert [client.public for client in ring.clients().values()] == [key.pair.public]


def test_the_files_are_certificates_as_other_zeromq_programs_read_them(
    ring: KeyStore, tmp_path: Path
) -> None:
    ring.issue("gate", tmp_path / "gate.key")
    key = read_client_key(tmp_path / "gate.key")
    assert zmq.auth.load_certificate(tmp_path / "gate.key") == (key.pair.public, key.pair.secret)
    assert set(zmq.auth.load_certificates(ring.folder / "clients")) == {key.pair.public}


def test_files_are_for_their_owner_alone_and_no_secret_of_a_client_stays(
    ring: KeyStore, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        ring.issue("gate", tmp_path / "gate.key")
        other = KeyStore(tmp_path / "other")
        other.new()
    finally:
        os.umask(before)
    for folder in (ring.folder, ring.folder / "clients", other.folder, other.folder / "clients"):
        assert mode(folder) == 0o700, folder
    files = [path for path in ring.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"server.key", "gate.key"}, "something was left behind"
    for path in (*files, tmp_path / "gate.key", other.folder / "server.key"):
        assert mode(path) == 0o600, path
    secret = read_client_key(tmp_path / "gate.key").pair.secret
    assert not any(secret in path.read_bytes() for path in files)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_whoever_owns_the_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1234, 4321)
    ring = KeyStore(home / "keys")
    ring.new()
    ring.issue("gate", home / "gate.key")
    made = [home / "gate.key", ring.folder, *ring.folder.rglob("*")]
    assert len(made) == 5
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1234, 4321)}


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-x", ".x", "x" * 65, "x\n", "é", "a b", "a\0"]
)
def test_a_name_that_could_be_something_else_is_refused(ring: KeyStore, tmp_path: Path, name: str) -> None:
    for attempt in (
        lambda: ring.issue(name, tmp_path / "out.key"),
        lambda: ring.add(name, new_pair().public.decode()),
        lambda: ring.revoke(name),
    ):
        with pytest.raises(KeyFileError, match="cannot be a client's name"):
            attempt()
    assert not (tmp_path / "out.key").exists()


def test_a_name_is_given_once_and_the_first_client_stays(ring: KeyStore, tmp_path: Path) -> None:
    ring.issue("gate", tmp_path / "gate.key")
    before = ring.clients()
    with pytest.raises(KeyFileError, match=r"there is a client `gate` already.*keys revoke gate"):
        ring.issue("gate", tmp_path / "second.key")
    assert ring.clients() == before and not (tmp_path / "second.key").exists()


def test_of_many_that_want_a_name_at_once_one_gets_it(ring: KeyStore, tmp_path: Path) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def add(number: int) -> None:
        start.wait()
        try:
            ring.issue("gate", tmp_path / f"{number}.key")
            outcomes.append("ok")
        except KeyFileError:
            outcomes.append("refused")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (handed_out,) = tmp_path.glob("*.key")
    assert sorted(outcomes) == ["ok"] + ["refused"] * 7
    assert list(ring.clients()) == [read_client_key(handed_out).pair.public]


def test_a_file_that_is_there_is_not_written_over_and_nobody_is_let_in(
    ring: KeyStore, tmp_path: Path
) -> None:
    (tmp_path / "gate.key").write_text("mine")
    with pytest.raises(KeyFileError, match=r"gate\.key: cannot be created: File exists"):
        ring.issue("gate", tmp_path / "gate.key")
    with pytest.raises(KeyFileError, match="No such file or directory"):
        ring.issue("gate", tmp_path / "nowhere" / "gate.key")
    assert (tmp_path / "gate.key").read_text() == "mine" and not ring.clients()


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files of this process cannot grow, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_of_a_key(ring: KeyStore, tmp_path: Path) -> None:
    before = ring.server()
    with no_room():
        for attempt in (
            lambda: ring.issue("gate", tmp_path / "gate.key"),
            lambda: ring.issue("gate", None),
            lambda: ring.new(replace=True),
        ):
            with pytest.raises(KeyFileError, match="File too large"):
                attempt()
    assert ring.server() == before and not ring.clients()
    assert {path.name for path in tmp_path.rglob("*")} == {"etc", "keys", "clients", "server.key"}


def test_who_made_a_pair_of_its_own_is_let_in_by_its_public_key(ring: KeyStore) -> None:
    own = new_pair()
    ring.add("shed", own.public.decode())
    assert list(ring.clients()) == [own.public]
    with pytest.raises(KeyFileError, match="the key of the client `shed` already"):
        ring.add("other", own.public.decode())
    with pytest.raises(KeyFileError, match="the key of the daemon already"):
        ring.add("other", ring.server().public.decode())


@pytest.mark.parametrize("key", ["", "x" * 39, "x" * 41, "~" * 40, "é" * 40, "#" * 40, '"' * 40])
def test_what_is_no_key_is_said_so_and_not_repeated(ring: KeyStore, key: str) -> None:
    with pytest.raises(KeyFileError, match="not a ZeroMQ key: a key has 40 characters") as caught:
        ring.add("gate", key)
    assert not key or key not in str(caught.value)
    assert not ring.clients()


def test_who_is_revoked_is_gone_and_others_are_named(ring: KeyStore) -> None:
    for name in ("gate", "shed"):
        ring.issue(name, None)
    ring.revoke("gate")
    assert names(ring) == {"shed"}
    with pytest.raises(KeyFileError, match="no client `gate`: the clients are: shed"):
        ring.revoke("gate")
    ring.revoke("shed")
    with pytest.raises(KeyFileError, match="no client has a key yet"):
        ring.revoke("shed")


def test_the_servers_keys_are_replaced_only_when_that_is_wanted(ring: KeyStore) -> None:
    before = ring.server()
    with pytest.raises(KeyFileError, match="exists already; --replace"):
        ring.new()
    assert ring.server() == before
    ring.new(replace=True)
    assert ring.server() != before and mode(ring.folder / "server.key") == 0o600


def test_without_a_server_key_nobody_is_let_in(tmp_path: Path) -> None:
    ring = KeyStore(tmp_path / "keys")
    with pytest.raises(KeyFileError, match=r"no server key in .* yet: incv3d keys new"):
        ring.issue("gate", tmp_path / "gate.key")
    assert not (tmp_path / "gate.key").exists() and not ring.clients()


@pytest.mark.parametrize(
    ("path", "permissions", "words"),
    [
        ("server.key", 0o640, r"other users can read the daemon's secret key: chmod 600 .*server\.key"),
        ("server.key", 0o604, "chmod 600"),
        ("clients", 0o770, "other users can authorize themselves there: chmod 700 .*clients"),
        (".", 0o707, "chmod 700 .*keys"),
    ],
)
def test_loose_permissions_are_refused_with_the_command_that_mends_them(
    ring: KeyStore, path: str, permissions: int, words: str
) -> None:
    (ring.folder / path).chmod(permissions)
    with pytest.raises(KeyFileError, match=words):
        ring.server()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it contains no keys"),
        (bytes(100_000), "it contains no keys"),
        (b"\xff\xfe", "it contains no keys"),
        (b'public-key = "x"', "public-key: not a ZeroMQ key"),
        (b'secret-key = "%s"' % (b"1" * 40), "needs a `public-key` line and a `secret-key` line"),
        (b'public-key = "%s"\nsecret-key = "%s"' % (b"1" * 40, b"2" * 40), "its public key does not match"),
    ],
)
def test_a_damaged_file_is_one_line(ring: KeyStore, tmp_path: Path, content: bytes, words: str) -> None:
    (ring.folder / "server.key").write_bytes(content)
    with pytest.raises(KeyFileError, match=r"server\.key.*" + words) as caught:
        ring.server()
    assert "\n" not in str(caught.value)


def test_a_file_of_the_wrong_side_is_no_clients_key(ring: KeyStore, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="not a client's key: it has no `server-key` line"):
        read_client_key(ring.folder / "server.key")
    for path in (tmp_path / "gone.key", tmp_path, Path("/dev/null")):
        with pytest.raises(KeyFileError, match=r"cannot be read|not a regular file"):
            read_client_key(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_client_key(tmp_path / "pipe")


def test_a_clients_file_that_others_can_read_is_used_with_a_warning(
    ring: KeyStore, tmp_path: Path, caplog
) -> None:
    ring.issue("gate", tmp_path / "gate.key")
    read_client_key(tmp_path / "gate.key")
    assert not caplog.messages
    (tmp_path / "gate.key").chmod(0o644)
    read_client_key(tmp_path / "gate.key")
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith(f"chmod 600 {tmp_path}/gate.key")


def test_a_clients_damaged_file_costs_that_client_alone(ring: KeyStore, caplog) -> None:
    ring.issue("gate", None)
    clients = ring.folder / "clients"
    (clients / "shed.key").write_bytes(b"nothing")
    (clients / "barn.key").write_bytes(b'secret-key = "%s"' % (b"1" * 40))
    (clients / "folder.key").mkdir()
    (clients / "README").write_text("not a key")
    assert names(ring) == {"gate"}
    assert {message.split(":")[0].rsplit("/", 1)[1] for message in caplog.messages} == {
        "shed.key",
        "barn.key",
        "folder.key",
    }


def test_a_secret_does_not_come_out_of_a_repr() -> None:
    assert "hush" not in repr(KeyPair(b"public", b"hush"))


def test_a_zeromq_without_curve_is_said_in_one_line(ring: KeyStore, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(zmq, "has", lambda name: False)
    for attempt in (
        lambda: KeyStore(tmp_path / "x").new(),
        ring.server,
        lambda: read_client_key(tmp_path / "gate.key"),
    ):
        with pytest.raises(KeyFileError, match=r"built without CURVE.*pip install"):
            attempt()


def test_the_commands_work_together(tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"intake: {{bind: 'tcp://*:5555', keys: {tmp_path}/keys}}")

    def incv3d(*words: str) -> tuple[int, str, str]:
        done = run_incv3d(tmp_path, *words, INCV3D_CONFIG=str(config))
        return done.returncode, done.stdout, done.stderr

    status, _, said = incv3d("check-config")
    assert status == 2 and f"{config}:1: intake.keys: there are no keys in {tmp_path}/keys" in said
    status, _, said = incv3d("keys", "add", "gate")
    assert status == 2 and said.count("\n") == 1 and "incv3d keys new" in said
    assert incv3d("keys", "new")[0] == 0
    status, out, _ = incv3d("keys", "add", "gate", "--out", "-")
    assert status == 0
    (tmp_path / "gate.key").write_text(out)
    key = read_client_key(tmp_path / "gate.key")
    own = new_pair().public.decode()
    status, out, _ = incv3d("keys", "add", "shed", "--public", own)
    assert status == 0 and out.strip().encode() == key.server
    status, out, _ = incv3d("keys", "list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["CLIENT", "gate", "shed", "server:"]
    assert own in out and key.pair.public.decode() in out
    assert key.pair.secret.decode() not in out
    assert incv3d("keys", "add", "x", "--public", own, "--out", "x")[0] == 2
    status, out, _ = incv3d("keys", "revoke", "gate")
    assert (status, out) == (0, "gate may no longer connect\n")
    assert incv3d("keys", "revoke", "gate")[0] == 2
    assert incv3d("check-config")[0] == 0
    (tmp_path / "keys/server.key").chmod(0o644)
    status, _, said = incv3d("check-config")
    assert status == 2 and f"chmod 600 {tmp_path}/keys/server.key" in said
