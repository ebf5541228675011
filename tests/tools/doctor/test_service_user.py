"""What root asks about the configuration of the service is answered for the user that the service runs as."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.tools.doctor.service_user import become_service_user

ASK = """
import os, sys
from pathlib import Path
import incv3d.app.prerequisites, incv3d.transports.http.auth  # before Python is unreadable for this user
from incv3d.config.loading import load_config
from incv3d.tools.doctor.service_user import become_service_user
file, service_file = sys.argv[1:]
user = become_service_user(file, os.environ, Path(service_file), "nobody")
found = incv3d.app.prerequisites.find_mistakes(load_config(file), {"STATE_DIRECTORY": sys.argv[1] + ".state"})
print(user, len(set(os.getresuid())), os.geteuid() == 0, *(each.key for each in found if each.is_denied))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter; those of pytest are for their owner alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_users_other_than_root_do_not_change(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4321)
    (folder / "incv3d.yaml").write_text("{}")
    environ = dict(os.environ)
    assert become_service_user(str(folder / "incv3d.yaml"), environ, folder / "incv3d.yaml") == "4321"
    assert environ == os.environ


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("is_service", [True, False])
def test_root_checks_with_the_services_permissions(folder: Path, is_service: bool) -> None:
    (folder / "token").write_text("a word of more than sixteen")
    (folder / "token").chmod(0o600)
    file = folder / "incv3d.yaml"
    file.write_text(f"http: {{bind: '0.0.0.0:0', token_file: {folder}/token}}")
    service_file = file if is_service else folder / "another.yaml"
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(file), str(service_file)], capture_output=True, text=True, check=False
    )
    denied = "nobody 1 False http.token_file model.name\n"
    assert done.stdout == (denied if is_service else "root 1 True\n"), done.stderr


CHANGE = """
import sys
from functools import partial
from pathlib import Path
import incv3d.pipeline.loader, incv3d.models.fetch.fetch, incv3d.models.importing  # as above
from incv3d.cli import main
from incv3d.tools.doctor import service_user
folder = Path(sys.argv[1])
service_user.become_service_user = partial(
    service_user.become_service_user, system_file=folder / "incv3d.yaml", installers_user="nobody"
)
sys.argv[:2] = ["incv3d"]
main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_root_does_to_the_models_of_the_service_is_done_by_its_user(folder: Path) -> None:
    models = folder / "state/models"
    (models / "mine").mkdir(parents=True)
    for path in (folder / "state", models, models / "mine"):
        os.chown(path, 65534, 65534)
    (folder / "incv3d.yaml").write_text(f"model: {{store: {folder}/state}}")
    words = ["model", "remove", "mine", "--config", str(folder / "incv3d.yaml")]
    done = subprocess.run(
        [sys.executable, "-c", CHANGE, str(folder), *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "removed mine\n"), done.stderr
    assert (models / ".lock").stat().st_uid == 65534 and not (models / "mine").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_model_that_the_services_user_cannot_read_is_reported(folder: Path) -> None:
    (folder / "incv3d.yaml").write_text(f"model: {{store: {folder}/state}}")
    home = folder / "home"
    home.mkdir(0o700)
    (home / "net.pb").write_bytes(b"no network")
    words = ["model", "import", str(home / "net.pb"), "--name", "mine"]
    done = subprocess.run(
        [sys.executable, "-c", CHANGE, str(folder), *words, "--config", str(folder / "incv3d.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = f"incv3d: {home}/net.pb: the service's user `nobody`, who owns these models, cannot read this file"
    assert done.returncode == 1 and done.stderr.startswith(said), done.stderr
    assert not (folder / "state").exists()
