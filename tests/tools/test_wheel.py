"""An installed package can be packed into the wheel that it came from."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from built_wheel import build_wheel, install_wheel, installed_once, wheel_made_once
from incv3d.tools.wheel import WheelError, pack_wheel
from made_once import MadeOnce


@pytest.fixture(scope="module")
def wheel(made_once: MadeOnce) -> Path:
    return wheel_made_once(made_once)


@pytest.fixture
def installed(made_once: MadeOnce) -> PathDistribution:
    (metadata,) = installed_once(made_once).glob("*.dist-info")
    return PathDistribution(metadata)


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def test_the_wheel_carries_what_an_installed_service_needs(wheel: Path) -> None:
    carried = {
        name.removeprefix("incv3d/service/") for name in content(wheel) if name.startswith("incv3d/service/")
    }
    assert carried >= {
        "config/grafana-dashboard.json",
        "config/incv3d.yaml",
        "systemd/constraints.txt",
        "systemd/incv3d.service",
        "systemd/install",
        "systemd/quantizer.txt",
        "systemd/uninstall",
        "systemd/upgrade",
    }


def test_packing_gives_the_same_wheel(wheel: Path, installed: PathDistribution, tmp_path: Path) -> None:
    packed = pack_wheel(installed, tmp_path)
    assert packed.name == wheel.name
    assert content(packed) == content(wheel)


def test_pip_installs_what_was_packed(installed: PathDistribution, tmp_path: Path) -> None:
    again = install_wheel(pack_wheel(installed, tmp_path), tmp_path / "again", "--no-compile")
    assert (again / "incv3d/__init__.py").exists() and (again / "bin/incv3d").exists()


def required(wheel: Path) -> dict[str, str]:
    """The packages that a wheel requires with the extras ``http`` and ``tensorflow``, by their extra."""
    (name,) = [name for name in content(wheel) if name.endswith("/METADATA")]
    found = {}
    for line in BytesParser().parsebytes(content(wheel)[name]).get_all("Requires-Dist"):
        for extra in ("", "http", "tensorflow"):
            each = Requirement(line)
            if each.name not in found and (each.marker is None or each.marker.evaluate({"extra": extra})):
                found[each.name] = extra
    return found


@pytest.fixture(scope="module")
def litert_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("litert"), INCV3D_INSTALL_ENGINE="litert")


def test_tensorflow_is_required_unless_the_wheel_was_built_without_it(
    wheel: Path, litert_wheel: Path
) -> None:
    with_it, without = required(wheel), required(litert_wheel)
    assert with_it["tensorflow"] == "" and without["tensorflow"] == "tensorflow"
    assert {name: extra for name, extra in with_it.items() if name != "tensorflow"} == {
        name: extra for name, extra in without.items() if name != "tensorflow"
    }
    assert with_it["aiohttp"] == "http"


def test_packing_for_litert_gives_the_wheel_that_is_built_without_tensorflow(
    installed: PathDistribution, litert_wheel: Path, tmp_path: Path
) -> None:
    packed = pack_wheel(installed, tmp_path, engine="litert")
    assert content(packed) == content(litert_wheel)
    install_wheel(packed, tmp_path / "again", "--no-compile")  # pip checks the hashes


def test_an_engine_that_does_not_exist_is_named_by_pip(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[2] / "setup.py", "--version"],
        env={**os.environ, "INCV3D_INSTALL_ENGINE": "onnx"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr == "INCV3D_INSTALL_ENGINE: must be tensorflow or litert, not onnx\n"


def test_a_missing_file_is_named(installed: PathDistribution, tmp_path: Path) -> None:
    Path(installed.locate_file("incv3d/frames.py")).unlink()
    with pytest.raises(WheelError, match=r"incv3d/frames\.py: No such file or directory; install"):
        pack_wheel(installed, tmp_path)


def test_an_editable_installation_refers_to_its_checkout(tmp_path: Path) -> None:
    metadata = tmp_path / "incv3d-0.dist-info"
    metadata.mkdir()
    (metadata / "RECORD").write_text("__editable__.incv3d-0.pth,,\nincv3d-0.dist-info/WHEEL,,\n")
    (metadata / "WHEEL").write_text("Tag: py3-none-any\n")
    with pytest.raises(WheelError, match="not installed from a wheel; run systemd/install of"):
        pack_wheel(PathDistribution(metadata), tmp_path)
