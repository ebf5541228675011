"""From the names in the configuration to what is watched."""

from __future__ import annotations

from pathlib import Path

import pytest

import incv3d.models
from incv3d.config.events import EventsSection
from incv3d.config.loading import ConfigError
from incv3d.events.presence import Threshold
from incv3d.events.watchlist import LEAVE_FRACTION, Watchlist, read_watchlist
from incv3d.frames import Prediction
from incv3d.models.labels import Label, Labels, read_labels

IMAGENET = Path(incv3d.models.__file__).parent / "data" / "imagenet-1k.tsv"
PANDA, LESSER_PANDA, CAT, ROBIN = 388, 387, 285, 15


@pytest.fixture(scope="module")
def known() -> Labels:
    return read_labels(IMAGENET, 1000)


def watchlist(known: Labels, **keys: object) -> Watchlist:
    return read_watchlist(EventsSection(**keys), known, "inception-v3")  # type: ignore[arg-type]


def watched(known: Labels, **keys: object) -> dict[int, Threshold]:
    return dict(sorted(watchlist(known, **keys).thresholds.items()))


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("giant panda", [PANDA]),
        ("GIANT PANDA", [PANDA]),
        ("n02510455", [PANDA]),
        ("panda", [LESSER_PANDA, PANDA]),  # a name of both
        ("Ailuropoda*", [PANDA]),
        ("*panda bear", [PANDA]),
        ("crane", [134, 517]),  # the bird and the machine
        ("n0251045?", [PANDA]),
    ],
)
def test_a_label_goes_by_each_of_its_names_its_synset_and_patterns_of_them(known, name, outputs) -> None:
    assert list(watched(known, allow=[name])) == outputs


def test_one_number_is_where_it_enters_and_two_are_where_it_leaves_too(known) -> None:
    found = watched(known, labels={"giant panda": 0.8, "Egyptian cat": [0.4, 0.1]}, allow=["robin"])
    assert found == {
        PANDA: Threshold(0.8, 0.8 * LEAVE_FRACTION),
        CAT: Threshold(0.4, 0.1),
        ROBIN: Threshold(0.5, 0.5 * LEAVE_FRACTION),
    }
    assert watched(known, allow=["robin"], threshold=[0.7, 0.6]) == {ROBIN: Threshold(0.7, 0.6)}


def test_a_name_goes_over_a_pattern_and_the_first_of_two_patterns_over_the_second(known) -> None:
    found = watched(known, labels={"*panda": 0.2, "*": 0.3, "giant panda": 0.9})
    assert (found[PANDA].enter, found[LESSER_PANDA].enter, found[CAT].enter) == (0.9, 0.2, 0.3)
    assert len(found) == 1000


def test_deny_goes_over_allow_and_labels(known) -> None:
    assert PANDA not in watched(known, allow=["*"], labels={"giant panda": 0.2}, deny=["giant panda"])
    assert list(watched(known, allow=["*panda"], deny=["lesser*"])) == [PANDA]


@pytest.mark.parametrize("key", ["allow", "deny", "labels"])
def test_a_label_that_the_model_does_not_have_is_one_line_with_those_close_to_it(known, key) -> None:
    wrong = {"gaint panda": 0.5} if key == "labels" else ["gaint panda"]
    keys: dict[str, object] = {"allow": ["*"], key: wrong}
    with pytest.raises(ConfigError) as caught:
        watched(known, **keys)
    assert str(caught.value).startswith(
        f"events.{key}: inception-v3 has no label `gaint panda`; similar labels: `giant panda`, "
    )
    assert "\n" not in str(caught.value)


def test_a_pattern_that_names_nothing_is_an_error_too_and_guesses_may_be_none(known) -> None:
    with pytest.raises(ConfigError, match=r"has no label `\*qqqqxx\*` \(all: incv3d model show inception-v3"):
        watched(known, allow=["*qqqqxx*"])
    with pytest.raises(ConfigError, match="similar labels: `spiral`"):
        watched(known, allow=["*spidr*"])


def test_a_group_is_watched_as_one_whose_score_is_the_sum_of_its_labels(known) -> None:
    found = watchlist(known, groups={"panda": ["*panda"], "cat": ["tabby"]}, labels={"cat": [0.7, 0.6]})
    assert found.thresholds == {-1: Threshold(0.5, 0.5 * LEAVE_FRACTION), -2: Threshold(0.7, 0.6)}
    seen = (
        Prediction(PANDA, "n02510455", "giant panda", 0.3),
        Prediction(ROBIN, "n01558993", "robin", 0.25),
        Prediction(LESSER_PANDA, "n02509815", "lesser panda", 0.2),
    )
    assert found.with_groups(seen) == (*seen, Prediction(-1, "", "panda", 0.5))
    assert watchlist(known, allow=["robin"]).with_groups(seen) == seen


def test_what_is_denied_is_taken_out_of_groups(known) -> None:
    found = watchlist(known, groups={"spider": ["*spider*"]}, deny=["spider web", "spider monkey"])
    (group,) = found.groups
    assert sorted(known[index].name for index in group.outputs) == [
        "barn spider",
        "black and gold garden spider",
        "garden spider",
        "wolf spider",
    ]


def test_a_label_in_a_group_that_does_not_exist_is_an_error_with_the_name_of_the_group(
    known,
) -> None:
    with pytest.raises(ConfigError, match=r"events\.groups\.panda: inception-v3 has no label `gaint panda`"):
        watchlist(known, groups={"panda": ["gaint panda"]})


def test_when_nothing_is_left_to_be_watched_that_is_an_error(known) -> None:
    with pytest.raises(ConfigError, match=r"events\.deny: it excludes every watched label"):
        watched(known, allow=["robin"], groups={"bird": ["robin"]}, deny=["*"])


def test_the_labels_of_a_network_of_ones_own_need_no_synset() -> None:
    own = Labels([Label(0, "", "Blaumeise"), Label(1, "", "Grünfink")], 3)
    assert list(watched(own, allow=["grünfink", "class 2"])) == [1, 2]
