"""Servers, daemons that require keys, and sockets that connect to them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from doubles import ScriptedSession, TwoLabels
from incv3d.config.intake import IntakeSection
from incv3d.frames import Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.images.preprocess import Preprocessor
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import Pipeline
from incv3d.protocol.curve_keys import ClientKey
from incv3d.transports.admission import Admission
from incv3d.transports.zeromq import zap as module
from incv3d.transports.zeromq.server import ZmqServer
from incv3d.transports.zeromq.zap import ZapAuthenticator
from keyed_daemon import KeyedDoor
from processes import PATIENCE_S
from zap_clients import ZAP, CountingRing, Message, message
from zeromq_server import SOON_MS, SPEC, Door


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Callable[..., Door]]:
    doors: list[Door] = []

    def make(session: ScriptedSession | None = None, pace_ms: float = 7.0, **settings: Any) -> Door:
        session = session or ScriptedSession()
        folder = tmp_path / str(len(doors))
        folder.mkdir()
        section = IntakeSection(
            **{"bind": f"ipc://{folder}/door", "publish": f"ipc://{folder}/results", **settings}
        )
        frame_queue = FrameQueue(section.queue_limit, section.queue_bytes, section.peer_limit, is_large)
        refused: list[Refusal] = []
        deaths: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
        drained = threading.Event()

        def died(thread: str, error: BaseException) -> None:
            deaths.put((thread, error))

        def describe(operation: str, *about: object) -> dict[str, Any]:
            return {"state": "ready"}

        def deliver(result: Result) -> None:
            intake.deliver(result)

        admission = Admission(frame_queue, lambda: pace_ms, deliver)
        intake = ZmqServer(
            section, frame_queue, describe, lambda: ("m", "e"), admission, refused.append, died
        )

        classifier = Classifier(Preprocessor(SPEC, section.max_pixels), session, TwoLabels(), top_k=5)
        pipeline = Pipeline(frame_queue, lambda: classifier, deliver, lambda: None, drained.set, died)
        door = Door(section, frame_queue, session, intake, pipeline, refused, deaths, drained)
        intake.open()
        intake.start()
        pipeline.start()
        doors.append(door)
        return door

    yield make
    for door in doors:
        door.session.release(1000)
        door.frame_queue.close()
        assert door.closed or door.intake.close(10, Refusal.SHUTTING_DOWN, "the test is over")


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
def ring(tmp_path: Path) -> CountingRing:
    ring = CountingRing(tmp_path / "keys")
    ring.new()
    return ring


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The doorkeeper's time; a machine that has just started counts from 0."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    with zmq.Context() as context:
        context.linger = 0
        yield context


@pytest.fixture
def keeper(context: zmq.Context, ring: CountingRing, clock: SimpleNamespace) -> Iterator[ZapAuthenticator]:
    keeper = ZapAuthenticator(context, ring)
    keeper.open()
    yield keeper
    keeper.close()


@pytest.fixture
def question(context: zmq.Context) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """Puts a question as ZeroMQ does (RFC 27); its socket gets the answer."""
    with contextlib.ExitStack() as stack:

        def put(key: bytes, mechanism: bytes = b"CURVE", address: bytes = b"10.0.0.7") -> zmq.Socket[bytes]:
            socket = stack.enter_context(context.socket(zmq.REQ))
            socket.set(zmq.RCVTIMEO, SOON_MS)
            socket.connect(ZAP)
            credentials = [z85.decode(key)] if mechanism == b"CURVE" else [key, b"password"]
            socket.send_multipart([b"1.0", b"number", b"incv3d", address, b"id", mechanism, *credentials])
            return socket

        yield put


@pytest.fixture
def guarded(context: zmq.Context, keeper: ZapAuthenticator) -> Iterator[zmq.Socket[bytes]]:
    with context.socket(zmq.ROUTER) as router:
        keeper.guard(router)
        router.bind("tcp://127.0.0.1:*")
        yield router


@pytest.fixture
def client(context: zmq.Context, guarded: zmq.Socket[bytes]) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """A socket that has sent a message to the guarded one, or tries to."""
    with contextlib.ExitStack() as stack:

        def connect(key: ClientKey | None) -> zmq.Socket[bytes]:
            dealer = stack.enter_context(context.socket(zmq.DEALER))
            if key:
                key.lock(dealer)
            dealer.set(zmq.RECONNECT_IVL, -1)
            dealer.connect(guarded.last_endpoint)
            with contextlib.suppress(zmq.Again):  # a stranger may have been turned away already
                dealer.send(b"hello", zmq.NOBLOCK)
            return dealer

        yield connect


@pytest.fixture
def arrive(keeper: ZapAuthenticator, guarded: zmq.Socket[bytes], client) -> Callable[[ClientKey], Message]:
    """A message from a client with this key, which is let in."""

    def send(key: ClientKey) -> Message:
        keeper.check()
        client(key)
        came = message(keeper, guarded)
        assert came
        return came

    return send
