"""Every request is answered once: by its result, by a rejection, or at the end."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

import pytest

from incv3d.frames import FrameId, Prediction, Refusal, Result
from incv3d.transports.admission import Rejection
from incv3d.transports.pending import Answer, PendingRequests

LABELS = (Prediction(0, "n0", "label", 0.9),)
BUSY = Rejection(Refusal.BUSY, "3 frames wait already", 700)


@dataclass(frozen=True)
class Request:
    id: FrameId


class Sent:
    """A table for the requests of `zmq`, and what it has sent and counted."""

    def __init__(self) -> None:
        self.answers: list[tuple[Request, Answer]] = []
        self.rejected: list[Refusal] = []
        self.table = PendingRequests[Request](
            "zmq", lambda: ("m", "e"), lambda: 3, self.rejected.append, self._send
        )

    def _send(self, request: Request, answer: Answer) -> None:
        self.answers.append((request, answer))

    def documents(self) -> list[dict]:
        return [json.loads(answer.data) for _, answer in self.answers]


def test_a_result_answers_its_request_and_no_other() -> None:
    sent = Sent()
    first, second = Request("first"), Request("second")
    request_ids = [sent.table.add(first), sent.table.add(second)]
    sent.table.deliver(Result("zmq", "second", request_ids[1], LABELS))
    assert [request for request, _ in sent.answers] == [second] and sent.table.requests() == [first]
    (document,) = sent.documents()
    assert (document["id"], document["model"], document["engine"]) == ("second", "m", "e")
    assert sent.answers[0][1].rejection is None and not sent.rejected


def test_a_rejection_has_the_id_of_its_request_and_is_counted() -> None:
    sent = Sent()
    sent.table.reject(sent.table.add(Request(7)), BUSY)
    (document,) = sent.documents()
    assert (document["id"], document["code"], document["retry_ms"]) == (7, "busy", 700)
    assert sent.rejected == [Refusal.BUSY] and sent.answers[0][1].rejection == BUSY


def test_a_rejected_result_is_an_answer_with_its_reason_which_the_pipeline_has_counted() -> None:
    sent = Sent()
    request_id = sent.table.add(Request(7))
    sent.table.deliver(Result("zmq", 7, request_id, refusal=Refusal.EXPIRED, detail="too old"))
    assert sent.documents()[0]["code"] == "expired" and not sent.rejected
    assert sent.answers[0][1].rejection == Rejection(Refusal.EXPIRED, "too old")


@pytest.mark.parametrize(
    "result", [Result("mqtt", 1, 1, LABELS), Result("zmq", 1, None, LABELS), Result("yard")]
)
def test_results_of_other_transports_and_of_cameras_answer_nothing(result: Result) -> None:
    sent = Sent()
    assert sent.table.add(Request(1)) == 1
    sent.table.deliver(result)
    assert not sent.answers and len(sent.table) == 1


def test_what_comes_after_the_answer_is_neither_sent_nor_counted() -> None:
    sent = Sent()
    request_id = sent.table.add(Request(1))
    sent.table.answer(request_id, b"{}")
    sent.table.reject(request_id, BUSY)
    sent.table.deliver(Result("zmq", 1, request_id, LABELS))
    sent.table.reject_all(BUSY)
    assert len(sent.answers) == 1 and not sent.rejected


def test_at_the_end_all_that_is_open_is_answered_but_for_what_was_discarded() -> None:
    sent = Sent()
    kept, gone = sent.table.add(Request("kept")), sent.table.add(Request("gone"))
    sent.table.discard(gone)
    sent.table.reject_all(Rejection(Refusal.SHUTTING_DOWN, "the daemon is stopping"))
    assert [document["id"] for document in sent.documents()] == ["kept"] and kept != gone
    assert sent.rejected == [Refusal.SHUTTING_DOWN] and len(sent.table) == 0


def test_threads_that_answer_at_once_send_one_answer_each() -> None:
    sent = Sent()
    request_ids = [sent.table.add(Request(number)) for number in range(2000)]
    start = threading.Barrier(4)

    def answer_all() -> None:
        start.wait(10)
        for request_id in request_ids:
            sent.table.deliver(Result("zmq", None, request_id, LABELS), b"{}")

    def reject_all() -> None:
        start.wait(10)
        sent.table.reject_all(BUSY)

    threads = [threading.Thread(target=each) for each in (answer_all, reject_all, answer_all, reject_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(int(str(request.id)) for request, _ in sent.answers) == list(range(2000))
    assert len(sent.rejected) == sum(answer.rejection is not None for _, answer in sent.answers)
