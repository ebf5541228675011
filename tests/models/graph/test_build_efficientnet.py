"""EfficientNet-Lite0 sees what the same weights see elsewhere."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from incv3d.models.entry import ModelError
from incv3d.models.graph.build_efficientnet import build
from incv3d.models.graph.plain_graph import read_graph
from processes import run_incv3d


def test_it_names_the_photographs_as_often_as_the_same_weights_elsewhere(state: Path, shared: Path) -> None:
    # In PyTorch these weights are right for 106 of the 120 (88.3 %), and for 115 (95.8 %) within five.
    images = sorted((shared / "images").glob("n*.JPEG"))
    assert len(images) == 120
    done = run_incv3d(state, "classify", "--model", "efficientnet-lite0", "--json", *map(str, images))
    assert done.returncode == 0, done.stderr
    first = five = 0
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        synsets = [prediction["synset"] for prediction in answer["predictions"]]
        wanted = Path(answer["picture"]).name.split("_")[0]
        first += synsets[0] == wanted
        five += wanted in synsets
    assert first >= 105 and five >= 114, (first, five)


def test_it_is_built_without_tensorflow(tmp_path: Path) -> None:
    code = f"""
import sys
from incv3d.models.graph.build_efficientnet import main
main({str(tmp_path / "graph.pb")!r})
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    graph = read_graph(tmp_path / "graph.pb")
    assert sum(node.op == "DepthwiseConv2dNative" for node in graph.nodes.values()) == 16
    assert sum(node.op == "AddV2" for node in graph.nodes.values()) == 9


def test_other_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="not the weights of EfficientNet-Lite0: '_bn0"):
        build({}, io.BytesIO())
