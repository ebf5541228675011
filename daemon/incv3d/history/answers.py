"""Answer a question about the history with plain values, for JSON, CSV and the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from incv3d.clock import parse_moment, timestamp_ms
from incv3d.history.reader import MOST_VISITS, HistoryReader, Question
from incv3d.history.visit import Visit

What = Literal["hour", "day", "label", "visit"]
DAY_S = 86_400.0
DAYS_BY_HOUR = 2
"""A longer period is shown by day, unless the question says otherwise."""


@dataclass(frozen=True, slots=True)
class Request:
    """A question, and the form of its answer."""

    question: Question
    by: What
    most: int = MOST_VISITS
    """Visits in the answer."""


def parse_request(given: Mapping[str, str]) -> Request:
    """Return the request of these words: ``since``, ``until``, ``label``, ``source``, ``by``, ``limit``.

    :raises ValueError: a word is unknown, or its value is wrong; the message names it.
    """
    known = ("since", "until", "label", "source", "by", "limit")
    if unknown := next((word for word in given if word not in known), ""):
        raise ValueError(f"{unknown}: unknown; a question has {', '.join(known)}")
    moments = {}
    for word in ("since", "until"):
        try:
            moments[word] = parse_moment(given[word], None) if given.get(word) else None
        except ValueError as error:
            raise ValueError(f"{word}: {error}") from None
    by = given.get("by", "")
    if by and by not in get_args(What):
        raise ValueError(f"by: must be one of {', '.join(get_args(What))}, not `{by}`")
    limit = given.get("limit", str(MOST_VISITS))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MOST_VISITS:
        raise ValueError(f"limit: must be a whole number from 1 to {MOST_VISITS}, not `{limit}`")
    return make_request(
        moments["since"], moments["until"], given.get("label", ""), given.get("source", ""), by, int(limit)
    )


def make_request(
    since_s: float | None, until_s: float | None, label: str, source: str, by: str, most: int = MOST_VISITS
) -> Request:
    """Return a request; the period is the last day unless it is given.

    :param since_s: in seconds since 1970.
    :param by: empty: by hour, or by day for a long period.
    """
    until = time.time() if until_s is None else until_s
    since = until - DAY_S if since_s is None else since_s
    if not by:
        by = "hour" if until - since <= DAYS_BY_HOUR * DAY_S else "day"
    ends = since, 2.0**52 if until_s is None else until
    since_ms, until_ms = (round(min(max(each * 1000, 0.0), 2.0**62)) for each in ends)
    what: What = by  # type: ignore[assignment]
    return Request(Question(since_ms, until_ms, label, source), what, most)


def answer(path: Path, request: Request) -> dict[str, Any]:
    """Return the answer, with times in UTC; ``rows`` is empty if nothing was seen.

    :raises HistoryError: there is no history, or it cannot be read.
    """
    question = request.question
    with HistoryReader(path) as reader:
        match request.by:
            case "visit":
                rows = [visit_row(each) for each in reader.visits(question, request.most)]
            case "label":
                rows = [
                    {
                        "label": each.label,
                        "synset": each.synset,
                        "source": each.source,
                        "visits": each.visits,
                        "seconds": round(each.seconds, 3),
                        "first": timestamp_ms(each.first_ms / 1000),
                        "last": timestamp_ms(each.last_ms / 1000),
                    }
                    for each in reader.labels(question)
                ]
            case _:
                rows = [
                    {
                        # Local time, because days and hours are those of the place; its offset is said.
                        "begin": datetime.fromtimestamp(each.begin_s).astimezone().isoformat(),
                        "visits": each.visits,
                        "seconds": round(each.seconds, 3),
                    }
                    for each in reader.counts(question, request.by)
                ]
    return {"by": request.by, "rows": rows}


def visit_row(visit: Visit) -> dict[str, Any]:
    """Return a visit as plain values."""
    return {
        "source": visit.source,
        "label": visit.label,
        "synset": visit.synset,
        "entered": timestamp_ms(visit.entered_ms / 1000),
        "duration_s": visit.duration_s,
        "best": visit.best,
        "reason": visit.reason,
        "image": visit.image,
    }
