"""Reading PyTorch's weights: tensors come out, and nothing else ever does."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from incv3d.models.entry import ModelError
from incv3d.models.graph.build_efficientnet import WEIGHTS_SHA256, weights_path
from incv3d.models.graph.pth_reader import MAGIC, VERSION, read_pth
from incv3d.models.store import sha256_of


class Evil:
    """Unpickled by an ordinary unpickler, this runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def legacy(named: object, keys: list[str], tail: bytes = b"", little: bool = True) -> bytes:
    parts = (MAGIC, VERSION, {"little_endian": little}, named, keys)
    return b"".join(pickle.dumps(part, protocol=2) for part in parts) + tail


def test_the_packages_weights_are_read() -> None:
    weights = read_pth(weights_path(), WEIGHTS_SHA256)
    assert len(weights) == 296 and sum(array.size for array in weights.values()) == 4_694_073
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_fc.weight"].shape == (1000, 1280) and weights["_fc.weight"].dtype == np.float32
    assert all(np.isfinite(array).all() for array in weights.values())
    assert (weights["_bn0.running_var"] >= 0).all()


def test_a_file_that_asks_for_a_command_runs_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    for content in (
        pickle.dumps(Evil(f"touch {proof}")),
        legacy(OrderedDict(weight=Evil(f"touch {proof}")), []),
        legacy(OrderedDict(), []).replace(b"ccollections\nOrderedDict", b"cos\nsystem"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"evil\.pth: .*it uses \w+\.system, which no tensor needs"):
            read_pth(path, sha256_of(path))
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "damaged"),
        (b"PK\x03\x04 a zip", "not the weights"),
        (pickle.dumps(5), "wrong first bytes"),
        (legacy(OrderedDict(a=5), []), "more than tensors"),
        (legacy([], []), "more than tensors"),
        (legacy(OrderedDict(), ["ghost"]), "not the weights"),
        (legacy(OrderedDict(), [], little=False), "big-endian"),
    ],
)
def test_what_is_not_of_the_format_is_said_so(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=complaint):
        read_pth(path, sha256_of(path))


def test_a_file_with_one_wrong_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    content = bytearray(weights_path().read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged\.pth: damaged: its SHA-256 is"):
        read_pth(path, WEIGHTS_SHA256)


@pytest.mark.parametrize("length", [10, 1000, 30_000, 100_000, 18_000_000])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.pth"
    path.write_bytes(weights_path().read_bytes()[:length])
    with pytest.raises(ModelError, match=r"short\.pth: (damaged|not the weights)"):
        read_pth(path, sha256_of(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.pth: cannot be read"):
        read_pth(tmp_path / "gone.pth", "")
