"""The ranges of activations are those of most images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flatbuffers_by_hand import SIDE, Network
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.activation_ranges import activation_ranges


@pytest.fixture
def network(tmp_path: Path) -> Path:
    weights = np.zeros((1, 3, 3, 3))
    weights[0, 1, 1, 0] = 2  # twice the red of each pixel
    return Network().convolution("twice", 1, weights).mean().write(tmp_path / "network.tflite")


def image(value: float) -> np.ndarray:
    return np.full((1, SIDE, SIDE, 3), value, np.float32)


def test_the_rarest_extremes_are_left_out(network: Path) -> None:
    images = [image(value) for value in (*np.linspace(-1, 1, 11), 100.0)]
    found = activation_ranges(network, {0: "pixels", 3: "twice"}, images, threads=1)
    # Of the 12 largest values, sorted, the one at 0.9 x 11 = 9.9 is between 0.8 and 1.
    assert found["pixels"] == pytest.approx((-0.78, 0.98)) and found["twice"] == pytest.approx((0, 1.96))


def test_a_network_that_is_no_flatbuffer_is_refused(network: Path) -> None:
    network.write_bytes(b"\0\0\0\0TFL3 and then something else")
    with pytest.raises(ModelError, match="LiteRT cannot run the float network"):
        activation_ranges(network, {0: "pixels"}, [image(0)], threads=1)


def test_an_image_of_another_shape_is_refused(network: Path) -> None:
    with pytest.raises(ModelError, match=r"LiteRT cannot run the float network: .*[Dd]imension"):
        activation_ranges(network, {0: "pixels"}, [image(0)[:, 1:]], threads=1)
