"""EfficientNet-Lite0 sees what the same weights see elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

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
