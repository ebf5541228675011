"""Graphs are prepared with a part of TensorFlow; the whole package can still be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from incv3d.models.graph.core_tensorflow import PACKAGE, import_core

IMPORTS = """
import sys
from incv3d.models.graph.core_tensorflow import import_core
tf = import_core(converter=True)
assert tf.compat.v1.lite.TFLiteConverter and tf.Graph and tf.version.VERSION
import incv3d.models.graph.freeze_formats
assert "keras" not in sys.modules and "tensorflow" not in sys.modules
import tensorflow
assert tensorflow.version.VERSION == tf.version.VERSION and tensorflow.keras.layers.Dense
assert tensorflow.Graph is tf.Graph and import_core() is tensorflow
"""


@pytest.mark.slow
def test_the_part_is_imported_without_keras_and_the_whole_can_follow() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("moved", ["", "python"], ids=["all of it moved", "some of it moved"])
def test_a_version_with_its_parts_elsewhere_is_imported_as_a_whole(
    tmp_path: Path, monkeypatch, moved
) -> None:
    for package in filter(None, (PACKAGE, moved and f"{PACKAGE}/{moved}")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(sys.modules)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    try:
        assert import_core().__file__ == str(tmp_path / PACKAGE / "__init__.py")
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


def test_where_there_is_none_the_error_names_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{PACKAGE}'"):
        import_core()
