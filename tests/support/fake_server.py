"""A door whose answers the test decides: real sockets, no daemon behind them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import zmq

Request = dict[str, Any]
"""The header of a request, its bytes as ``data``, and the sender's connection as ``peer``."""
Script = Callable[[int, Request], "list[Request]"]
"""From the number of a request, counted from 0, and the request to the answers to send now."""


def silent(number: int, request: Request) -> list[Request]:
    return []


def answer(request: Request, **fields: Any) -> Request:
    return {"peer": request["peer"], "v": 1, "id": request["id"], "status": "ok", **fields}


def refusal(request: Request, code: str, **fields: Any) -> Request:
    return answer(request, **{"status": "error", "code": code, "detail": "no", "queue_depth": 8, **fields})


def label(number: int, request: Request) -> list[Request]:
    timing = {"queue": 0.1, "decode": 1.0, "run": 2.0, "total": 3.1}
    cat = {"index": 1, "synset": "n1", "label": "cat", "score": 0.5}
    return [answer(request, predictions=[cat], timing_ms=timing)]


class ScriptedPeer:
    """A ROUTER socket that answers as `script` says, in a thread."""

    def __init__(self, address: str, script: Script = label) -> None:
        self.requests: list[Request] = []
        self.arrived = threading.Semaphore(0)
        self._script = script
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(address)
        self._end = self._context.socket(zmq.PAIR)
        self._end.bind("inproc://end")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        end = self._context.socket(zmq.PAIR)
        end.connect("inproc://end")
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(end, zmq.POLLIN)
        while end not in dict(poller.poll()):
            peer, header, *data = self._socket.recv_multipart()
            request = {"peer": peer, "data": b"".join(data), **json.loads(header)}
            self.requests.append(request)
            for reply in self._script(len(self.requests) - 1, request):
                to = reply.pop("peer")
                self._socket.send_multipart([to, reply.pop("raw", None) or json.dumps(reply).encode()])
            self.arrived.release()
        end.close()

    def wait_for_request(self) -> None:
        assert self.arrived.acquire(timeout=20), "no request came"

    def close(self) -> None:
        self._end.send(b"")
        self._thread.join(20)
        self._end.close()
        self._socket.close()
        self._context.term()

    def __enter__(self) -> ScriptedPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
