"""``incv3d service`` runs the scripts of ``systemd/``, from a checkout and from a wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from built_wheel import installed_once
from made_once import MadeOnce

COMMAND = Path(sys.executable).with_name("incv3d")
DEBIAN = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("systemctl")),
    reason="no apt-get or no systemctl",
)


def test_install_lists_the_options_of_the_script() -> None:
    done = subprocess.run([COMMAND, "service", "install", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--wheels FOLDER" in done.stdout


@pytest.mark.parametrize("name", ["install", "uninstall"])
def test_an_unknown_option_is_named_with_the_command_that_lists_them(name: str) -> None:
    done = subprocess.run([COMMAND, "service", name, "--fast"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"incv3d: unknown option --fast; to list the options: {COMMAND} service {name} --help\n"
    )


def test_an_engine_that_cannot_be_installed_is_a_mistake() -> None:
    done = subprocess.run([COMMAND, "service", "install", "--engine", "onnx"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("incv3d: --engine: must be tensorflow or litert, not onnx; to list")


@DEBIAN
def test_an_installation_would_leave_tensorflow_out_or_bring_it_back() -> None:
    said = {}
    for engine in ("litert", "tensorflow"):
        done = subprocess.run(
            [COMMAND, "service", "install", "--dry-run", "--engine", engine], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said[engine] = done.stdout
    assert "with LiteRT, without TensorFlow" in said["litert"]
    assert "INCV3D_INSTALL_ENGINE=litert" in said["litert"] and ",tensorflow]" not in said["litert"]
    assert "INCV3D_INSTALL_ENGINE=tensorflow" in said["tensorflow"] and ",tensorflow]" in said["tensorflow"]
    releases = [re.search(r"creating (/opt/incv3d/releases/\S+):", each)[1] for each in said.values()]
    assert releases[0] != releases[1]


@DEBIAN
def test_an_installed_package_would_install_itself(made_once: MadeOnce) -> None:
    site = installed_once(made_once)
    done = subprocess.run(
        [sys.executable, "-P", site / "bin/incv3d", "service", "install", "--dry-run", "--no-camera"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "-m incv3d.tools.wheel /opt/incv3d/releases/tmp/source" in done.stdout
    assert f"install -m 644 {site}/incv3d/service/systemd/incv3d.service" in done.stdout
    assert done.stdout.endswith("nothing was done (--dry-run)\n")


def test_every_script_has_help() -> None:
    for name in ("install", "upgrade", "uninstall"):
        done = subprocess.run([COMMAND, "service", name, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and "--dry-run" in done.stdout, name
