"""What is shown of a daemon, on terminals of every size."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.client.subscription import Published
from incv3d.latency.rolling import Spread
from incv3d.protocol import messages
from incv3d.tools.top.screen import screen, sparkline
from incv3d.tools.top.watcher import MachineReadings, Peers, ReceivedResult, Source, Stats, View, Window

NOW = 1_767_268_800.0
SPREAD = Spread(9.5, 15.4, 15.9, 18.8, 21.1, 21.6)
STATS = Stats(
    state="ready",
    uptime_s=7985,
    model="gamma",
    engine="litert",
    queue_depth=3,
    queue_limit=8,
    undelivered=2,
    peers=Peers(seen=3),
    outcomes={"ok": 1200, "busy": 4, "dropped": 31, "expired": 0},
    window=Window(60, 59, 0.98, SPREAD, SPREAD, SPREAD, SPREAD, SPREAD, dropped=2),
    machine=MachineReadings(81.25, 0x50002, 161.4),
    source=Source("gate", "stalled", "no frame for 10 s", "2026-01-01T11:58:00Z", 1204, 3, 1),
)


def received(label: str = "tabby", at_s: float = NOW, source: str = "gate") -> ReceivedResult:
    answer = {
        "v": 1, "id": 1, "status": "ok",
        "predictions": [
            {"index": 0, "synset": "", "label": label, "score": 0.9},
            {"index": 1, "synset": "", "label": "lynx", "score": 0.05},
        ],
        "timing_ms": {"queue": 1, "decode": 2, "run": 15.4, "total": 19},
    }  # fmt: skip
    return ReceivedResult(at_s, Published(source, msgspec.convert(answer, messages.Answer)))


VIEW = View(
    "tcp://pi:5555",
    "tcp://pi:5556",
    STATS,
    stats_at_s=NOW,
    received=tuple(received(at_s=NOW - age_s) for age_s in range(30)),
    runs_ms=(10.0, 15.0, 20.0),
)


def shown(view: View = VIEW, width: int = 120, height: int = 30) -> str:
    return "\n".join(line.plain for line in screen(view, width, height, NOW))


@pytest.mark.parametrize(
    "words",
    [
        "incv3d ready for 2 h 13 min  tcp://pi:5555",
        "gamma on litert",
        "0.98 frames/s  queue 3 of 8  2 senders in the last minute",
        "source gate stalled since",
        ": no frame for 10 s; 1204 frames, 3 lost by the driver, recovered once",
        "81.2 °C frequency capped now since boot: under-voltage, throttled 161 MB",
        "frames 1200 ok, 4 busy, 31 dropped",
        "in the last 1 min: 2 dropped",
        "2 answers could not be delivered",
        "run          15.9     18.8     21.1     21.6",
        "runs     ▁▅█ 10.0 to 20.0 ms",
        "gate 15 ms  tabby 0.900  lynx 0.050",
    ],
)
def test_what_a_person_asks_is_there(words: str) -> None:
    assert words in shown()


def test_an_unreachable_daemon_is_shown_with_its_last_known_state(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    import time

    time.tzset()
    away = replace(VIEW, away_since_s=NOW - 5, error="no answer from tcp://pi:5555: nothing listens there")
    lines = shown(away).splitlines()
    assert lines[1:4] == [
        "not reachable since 11:59:55",
        "no answer from tcp://pi:5555: nothing listens there",
        "last known state, of 12:00:00",
    ]
    assert "ready" not in lines[0] and "gamma on litert" in lines


def test_a_daemon_that_was_never_reachable_has_nothing_to_show() -> None:
    view = View("tcp://pi:5555", "tcp://pi:5556", away_since_s=NOW, error="nothing listens there")
    assert len(shown(view).splitlines()) == 3
    assert shown(View("tcp://pi:5555", "")).splitlines()[-1] == "connecting ..."


def test_what_is_wrong_is_said() -> None:
    sick = replace(VIEW, stats=msgspec.structs.replace(STATS, health="the Session failed 2 times in a row"))
    assert "the Session failed 2 times in a row" in shown(sick)
    assert "restarted twice" in shown(replace(VIEW, restarts=2))


def test_a_camera_whose_frames_are_rejected_is_shown_with_the_reason() -> None:
    refused = Source("gate", "refused", "bad_image: damaged JPEG", "2026-01-01T11:58:00Z", 1204, 0, 0, 96)
    shows = shown(replace(VIEW, stats=msgspec.structs.replace(STATS, source=refused)))
    assert "source gate refused since" in shows
    assert ": bad_image: damaged JPEG; 1204 frames, 96 rejected" in shows


def test_why_no_results_are_shown_is_said() -> None:
    assert "none yet at tcp://pi:5556" in shown(replace(VIEW, received=()))
    assert "unknown address: use --results" in shown(replace(VIEW, received=(), results_address=""))
    assert "cannot connect" in shown(replace(VIEW, received=(), results_error="nonsense: cannot connect"))


VIEWS = st.sampled_from([
    VIEW,
    replace(VIEW, away_since_s=NOW, error="a long sentence about it, " * 10),
    replace(VIEW, stats=Stats("starting", 3), received=(), runs_ms=()),
    replace(VIEW, received=(received("猫" * 40),) * 40, runs_ms=(5.0,) * 500),
    View("ipc:///run/incv3d/a-very-long-name/door", ""),
])  # fmt: skip


@given(VIEWS, st.integers(1, 250), st.integers(1, 60))
def test_nothing_is_wider_or_higher_than_the_terminal(view, width, height) -> None:
    lines = screen(view, width, height, NOW)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)


@pytest.mark.parametrize("height", [12, 24, 50])
def test_results_fill_the_terminal(height: int) -> None:
    lines = shown(height=height).splitlines()
    assert (len(lines) == min(height, len(lines)) and "gate 15 ms" in lines[-1]) or height == 12
    assert "run" in "".join(lines)


def test_what_came_over_the_network_does_not_steer_the_terminal() -> None:
    evil = replace(VIEW, received=(received("\x1b[2J\x07cat", source="a\nb"),))
    assert "\x1b" not in shown(evil) and "?[2J?cat" in shown(evil) and "a?b" in shown(evil)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_sparkline_goes_from_the_lowest_to_the_highest_block(values) -> None:
    line = sparkline(values)
    assert len(line) == len(values) and set(line) <= set("▁▂▃▄▅▆▇█")
    assert line[values.index(min(values))] == "▁"
    assert max(values) - min(values) < 1e-300 or line[values.index(max(values))] == "█"


def test_an_older_daemons_answer_is_shown_as_far_as_possible() -> None:
    old = msgspec.convert({"state": "ready", "uptime_s": 3.0, "tomorrows": 1}, Stats)
    assert "incv3d ready for 3 s" in shown(replace(VIEW, stats=old))
