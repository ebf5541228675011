"""The picture of the confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from incv3d.latency.chart_file import ChartError
from incv3d.teaching.matrix_plot import plot_matrix
from incv3d.teaching.training import train
from taught_pictures import pictures


def test_the_matrix_is_drawn(tmp_path: Path) -> None:
    plot_matrix(train(pictures([20, 20, 20])).report, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as image:
        pixels = np.asarray(image.convert("RGB"), np.int16)
    assert (pixels[:, :, 2] - pixels[:, :, 0] > 60).mean() > 0.05, "the diagonal is dark blue"


def test_a_report_without_an_estimate_is_drawn_too(tmp_path: Path) -> None:
    plot_matrix(train(pictures([1, 1])).report, tmp_path / "matrix.svg")
    assert (tmp_path / "matrix.svg").read_text().startswith("<?xml")


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match="cannot be written"):
        plot_matrix(train(pictures([3, 3])).report, tmp_path / "nowhere/matrix.png")
