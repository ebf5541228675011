"""The answers to questions about the history."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import datetime
from pathlib import Path

import pytest

from incv3d.history.answers import answer, make_request, parse_request
from incv3d.history.database import DAY_MS, HistoryError
from incv3d.history.reader import HistoryReader, LabelCount, Question
from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter

TUESDAY = round(datetime(2026, 12, 1, 0, 0).timestamp() * 1000)
HOUR = 3_600_000
MINUTE = 60_000


@pytest.fixture(params=["counted", "not yet counted", "half"])
def path(tmp_path: Path, request) -> Path:
    """Some days at a bird box: what was counted by hour already gives the same answers as what was not."""
    file = tmp_path / "history.sqlite"
    writer = HistoryWriter(file)
    visits = [
        Visit("box", "tit", "n1", TUESDAY - 2 * DAY_MS, 0.8, 30.0, "unseen"),
        Visit("box", "tit", "n1", TUESDAY + 7 * HOUR + 50 * MINUTE, 0.9, 1200.0, "unseen", "tit.jpg"),
        Visit("box.left", "tit", "n1", TUESDAY + 8 * HOUR, 0.7, 5.0, "unseen"),
        Visit("gate", "fox", "n2", TUESDAY + 23 * HOUR + 59 * MINUTE, 0.6, 120.0, "silent"),
    ]
    writer.write(visits[:2], [])
    if request.param == "half":
        writer.count()
    writer.write(visits[2:], [Visit("gate", "cat", "", TUESDAY + DAY_MS + 9 * HOUR, 0.5)])
    if request.param == "counted":
        writer.count()
    writer.close()
    return file


def reader(path: Path) -> HistoryReader:
    return HistoryReader(path, lambda: (TUESDAY + DAY_MS + 9 * HOUR + 60_000) / 1000)


DAY = Question(TUESDAY, TUESDAY + DAY_MS)


def test_how_many_on_tuesday_at_what_hour(path: Path) -> None:
    with reader(path) as found:
        hours = [
            (datetime.fromtimestamp(each.begin_s).hour, each.visits, each.seconds)
            for each in found.counts(DAY, "hour")
        ]
    assert hours == [(7, 1, 600.0), (8, 1, 605.0), (23, 1, 60.0)]


def test_days_are_those_of_the_place_and_a_visit_counts_where_it_begins(path: Path) -> None:
    with reader(path) as found:
        days = {
            f"{datetime.fromtimestamp(each.begin_s):%d.%m. %H:%M}": (each.visits, each.seconds)
            for each in found.counts(Question(), "day")
        }
    assert days == {"29.11. 00:00": (1, 30.0), "01.12. 00:00": (3, 1265.0), "02.12. 00:00": (1, 120.0)}


def test_labels_with_when_they_were_first_and_last_seen(path: Path) -> None:
    with reader(path) as found:
        assert found.labels(Question(label="n1", source="box")) == [
            LabelCount("tit", "n1", "box", 2, 1230.0, TUESDAY - 2 * DAY_MS, TUESDAY + 7 * HOUR + 50 * MINUTE),
            LabelCount("tit", "n1", "box.left", 1, 5.0, TUESDAY + 8 * HOUR, TUESDAY + 8 * HOUR),
        ]
        of_tuesday = {(each.label, each.source): each.visits for each in found.labels(DAY)}
    assert of_tuesday == {("tit", "box"): 1, ("tit", "box.left"): 1, ("fox", "gate"): 1}


def test_visits_of_a_period_newest_first_and_one_that_lasts(path: Path) -> None:
    with reader(path) as found:
        assert [each.label for each in found.visits(Question())] == ["cat", "fox", "tit", "tit", "tit"]
        assert [each.image for each in found.visits(DAY)] == ["", "", "tit.jpg"]
        assert [each.source for each in found.visits(Question(label="TIT"), 2)] == ["box.left", "box"]
        assert found.visits(Question(label="heron")) == []


def test_visits_that_are_too_old_go_and_their_counts_stay(path: Path) -> None:
    writer = HistoryWriter(path)
    writer.count()
    assert writer.prune(TUESDAY, 10**9) == 1
    writer.close()
    with reader(path) as found:
        assert len(found.visits(Question())) == 4
        assert sum(each.visits for each in found.counts(Question(), "day")) == 5


def test_a_file_that_grows_too_large_loses_its_oldest_visits(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.sqlite")
    writer.write([Visit("box", "tit", "", TUESDAY + n, 0.5, 0.001, "unseen") for n in range(20_000)], [])
    writer.count()
    most = writer.size_bytes // 2
    assert writer.prune(0, most)
    assert writer.size_bytes <= most
    writer.close()
    with HistoryReader(tmp_path / "history.sqlite") as found:
        assert found.visits(Question(), 1)[0].entered_ms == TUESDAY + 19_999
        assert found.labels(Question())[0].visits == 20_000


def test_a_clock_that_is_put_back_loses_no_visit(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.sqlite")
    writer.write([Visit("box", "tit", "", TUESDAY + DAY_MS, 0.5, 1.0, "unseen")], [])
    writer.count()
    writer.write([Visit("box", "tit", "", TUESDAY, 0.5, 1.0, "unseen")], [])
    writer.count()
    writer.close()
    with HistoryReader(tmp_path / "history.sqlite") as found:
        assert [each.visits for each in found.counts(Question(), "day")] == [1, 1]


def test_a_visit_that_the_end_of_the_daemon_cut_off_ends_with_what_is_known_last(path: Path) -> None:
    writer = HistoryWriter(path)
    writer.end_lost_visits()
    writer.close()
    with reader(path) as found:
        newest = found.visits(Question())[0]
    assert (newest.label, newest.duration_s, newest.reason) == ("cat", 0.0, "lost")


def test_a_copy_is_a_whole_history(path: Path, tmp_path: Path) -> None:
    writer = HistoryWriter(path)
    with reader(path) as found:
        found.back_up(tmp_path / "copy.sqlite")
        visits = found.visits(Question())
        with pytest.raises(HistoryError, match="no/such/folder"):
            found.back_up(Path("/no/such/folder/copy.sqlite"))
    writer.close()
    assert not list(tmp_path.glob("*unfinished*"))
    with sqlite3.connect(tmp_path / "copy.sqlite") as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    with reader(tmp_path / "copy.sqlite") as found:
        assert found.visits(Question()) == visits


def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no history yet; it begins with the first label"):
        HistoryReader(tmp_path / "history.sqlite")
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"")
    with pytest.raises(HistoryError, match="not a history of incv3d"):
        HistoryReader(other)


def test_the_last_day_is_asked_for_unless_the_question_says_otherwise(path: Path) -> None:
    request = make_request(None, None, "", "", "")
    assert request.by == "hour"
    assert abs(request.question.since_ms / 1000 - (time.time() - 86_400)) < 60
    assert make_request(0.0, None, "", "", "").by == "day"
    assert make_request(float("-inf"), None, "", "", "visit").question.since_ms == 0
    assert json.dumps(answer(path, make_request(0.0, None, "", "", "visit")))


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        ("since", "yesterday", "since: `yesterday` must look like 6h, 2d"),
        ("until", "9999999999d", "until: `9999999999d` must look like"),
        ("by", "week", "by: must be one of hour, day, label, visit, not `week`"),
        ("limit", "0", "limit: must be a whole number from 1 to 1000, not `0`"),
        ("limit", "²", "limit: must be a whole number"),
        ("lable", "fox", "lable: unknown; a question has since,"),
    ],
)
def test_a_wrong_word_of_a_question_is_named(word: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z]+: ") as error:
        parse_request({word: value})
    assert str(error.value).startswith(said)
