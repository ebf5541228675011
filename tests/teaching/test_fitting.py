"""Which part of the pictures the network sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.teaching.dataset import FoundFiles, ImageFile
from incv3d.teaching.features import Collected
from incv3d.teaching.fitting import Fit, choose_fit
from incv3d.teaching.report import Findings
from taught_pictures import pictures

FILES = FoundFiles(
    tuple(ImageFile(Path(label, str(n)), label, f"{label}/{n}") for label in "ab" for n in range(250))
)


@pytest.mark.parametrize("own", ["crop", "stretch"])
@pytest.mark.parametrize(("better", "chosen"), [("crop", "crop"), ("stretch", "stretch"), ("", "own")])
def test_the_fit_that_recognizes_more_is_chosen_and_the_networks_own_if_both_do(
    own: Fit, better: str, chosen: str
) -> None:
    def look(fit: Fit, sample: FoundFiles) -> Collected:
        assert [sum(each.label == label for each in sample.files) for label in "ab"] == [100, 100]
        return Collected(tuple(pictures([100, 100], apart=0.8 if fit == better else 0.3)), Findings())

    assert choose_fit(own, FILES, look) == (own if chosen == "own" else chosen)


def test_pictures_of_one_burst_each_say_nothing() -> None:
    def look(fit: Fit, sample: FoundFiles) -> Collected:
        return Collected(
            tuple(pictures([20, 20], groups=[1, 1], apart=1.0 if fit == "crop" else 0)), Findings()
        )

    assert choose_fit("stretch", FILES, look) == "stretch"
