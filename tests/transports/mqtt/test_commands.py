"""The words of the command topic."""

from __future__ import annotations

import pytest

from incv3d.transports.mqtt.commands import BadCommand, Command, parse


@pytest.mark.parametrize(
    ("payload", "command"),
    [
        (b"pause", Command("pause")),
        (b" resume\n", Command("resume")),
        (b"snapshot", Command("snapshot")),
        (b"threshold 0.4", Command("threshold", 0.4)),
        (b"threshold 1", Command("threshold", 1.0)),
        (b"threshold 0", Command("threshold", 0.0)),
    ],
)
def test_a_command_is_a_word_or_a_word_and_a_score(payload, command) -> None:
    assert parse(payload) == command


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "unknown command ``; possible are pause, resume, snapshot, threshold"),
        (b"stop", "unknown command `stop`"),
        (b"pause now", "pause takes no value"),
        (b"threshold", "threshold takes a score"),
        (b"threshold -0.1", "threshold takes a score"),
        (b"threshold much", "`threshold much`: threshold takes a score from 0 to 1, as in `threshold 0.4`"),
        (b"threshold 1.5", "threshold takes a score"),
        (b"threshold nan", "threshold takes a score"),
        (b"threshold 0.1 0.2", "threshold takes a score"),
        (b"\xff\x1b[2J", "unknown command `\ufffd?[2J`"),
    ],
)
def test_another_one_is_said_to_be_none(payload, words) -> None:
    with pytest.raises(BadCommand) as caught:
        parse(payload)
    assert words in str(caught.value)


def test_a_long_one_is_cut() -> None:
    with pytest.raises(BadCommand) as caught:
        parse(b"x" * 1_000_000)
    assert len(str(caught.value)) < 200


def test_of_a_command_a_hundred_bytes_are_looked_at() -> None:
    assert parse(b" " * 95 + b"pause") == Command("pause")
    with pytest.raises(BadCommand, match=r"unknown command ` *paus`"):
        parse(b" " * 96 + b"pause")
