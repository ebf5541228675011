"""Scales are widened only where 32 bits, or XNNPACK's factors, would not suffice."""

from __future__ import annotations

import numpy as np
import pytest

from incv3d.models.flatbuffer.quantisation_limits import Filters, limit_scales

RANGES = {"in": (-1.0, 1.55), "out": (0.0, 2.55)}


def layer(weights: list[float], bias: list[float] | None) -> Filters:
    """A dense layer with one weight for each filter."""
    of_each = np.array(weights, np.float32).reshape(-1, 1)
    return Filters("w", "in", "out", of_each, 0, None if bias is None else np.array(bias, np.float32))


def test_ordinary_layers_stay_as_they_are() -> None:
    found = limit_scales(RANGES, [layer([0.5, -0.1], [3.0, -5.0]), layer([1e-3], None)])
    assert set(found) == {"in", "out"}
    assert found["in"]["min"] == [-1] and found["in"]["max"] == pytest.approx([1.55])


def test_a_filter_of_zeros_gets_a_scale_in_which_its_bias_fits() -> None:
    found = limit_scales(RANGES, [layer([0.5, 0.0], [3.0, -5.0])])["w"]
    scales = found["max"].ravel() / 127
    assert scales[0] == pytest.approx(0.5 / 127)
    input_scale = 2.55 / 255
    assert 5.0 / (input_scale * scales[1]) == pytest.approx(2**28)
    np.testing.assert_array_equal(found["min"], -found["max"])


def test_layers_that_share_a_filter_of_zeros_share_the_larger_scale() -> None:
    biases = ([0.0, 3.0], [0.0, 9.0], [0.0, 5.0])
    found = limit_scales(RANGES, [layer([0.5, 0.0], bias) for bias in biases])["w"]
    assert 9.0 / (2.55 / 255 * found["max"][1, 0] / 127) == pytest.approx(2**28)


def test_an_activation_that_is_always_zero_gets_a_scale_that_xnnpack_can_compute() -> None:
    found = limit_scales({"in": (0.0, 2.55), "out": (0.0, 0.0)}, [layer([1.27], [-9.0])])
    scale = (found["out"]["max"] - found["out"]["min"])[0] / 255
    assert 2.55 / 255 * 0.01 / scale == pytest.approx(128)


def test_ranges_include_zero() -> None:
    found = limit_scales({"in": (0.5, 2.0), "out": (-2.0, -1.0), "none": (0.0, 0.0)}, [])
    assert [(float(each["min"][0]), float(each["max"][0])) for each in found.values()] == [
        (0.0, 2.0), (-2.0, 0.0), (0.0, pytest.approx(1e-6)),
    ]  # fmt: skip
