"""``incv3d doctor`` as a person, and as a program, runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from processes import environment, run_incv3d

STATUSES = {"ok", "note", "warning", "problem"}


def addresses(folder: Path) -> dict[str, str]:
    return {"INCV3D_BIND": f"ipc://{folder}/door", "INCV3D_PUBLISH": f"ipc://{folder}/results"}


def test_json_for_programs_has_a_stable_form(tmp_path: Path) -> None:
    done = run_incv3d(tmp_path, "doctor", "--json", **addresses(tmp_path))
    answer = json.loads(done.stdout)
    assert list(answer) == ["problems", "warnings", "took_s", "findings"]
    assert 0 < answer["took_s"] < 60
    for finding in answer["findings"]:
        assert list(finding) == ["name", "status", "what", "fix"]
        assert all(isinstance(value, str) for value in finding.values())
        assert finding["status"] in STATUSES
    counted = [sum(f["status"] == kind for f in answer["findings"]) for kind in ("problem", "warning")]
    assert counted == [answer["problems"], answer["warnings"]]
    assert done.returncode == (1 if answer["problems"] else 0)


def test_a_problem_ends_with_status_1_and_says_its_fix(tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("model: {name: inception-v3}\n")
    done = run_incv3d(tmp_path, "doctor", "--config", str(config), **addresses(tmp_path))
    assert done.returncode == 1, done.stdout
    lines = done.stdout.splitlines()
    problem = next(number for number, line in enumerate(lines) if line.startswith("problem  model "))
    assert lines[problem + 1].strip().startswith("fix: incv3d model fetch inception-v3")
    assert " checked in " in lines[-1] and " problem" in lines[-1]


def test_without_a_problem_the_status_is_0(state: Path, tmp_path: Path) -> None:
    # Without a PATH the service of whoever tests here, if there is one, is not asked for.
    done = run_incv3d(state, "doctor", PATH=str(tmp_path), **addresses(tmp_path))
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert (done.returncode, problems) == (0, []), done.stdout
    assert done.stdout.splitlines()[-1].startswith("no problems, ")
    assert done.stderr == ""


def test_it_works_without_a_home_in_any_folder_and_changes_nothing(tmp_path: Path) -> None:
    environ = environment(tmp_path / "state", **addresses(tmp_path))
    environ = {key: value for key, value in environ.items() if key not in ("HOME", "PATH")}
    command = [sys.executable, "-m", "incv3d", "doctor", "--json"]
    done = subprocess.run(command, env=environ, cwd="/proc", capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["findings"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_while_a_check_is_running(tmp_path: Path) -> None:
    (tmp_path / "simplejpeg.py").write_text("import time; time.sleep(60)")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    environ = environment(tmp_path, **addresses(tmp_path), PYTHONPATH=path, PYTHONUNBUFFERED="1")
    command = [sys.executable, "-m", "incv3d", "doctor"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(line.startswith("ok       python") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_it_imports_neither_tensorflow_nor_numpy_before_checking_that_it_can(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import incv3d.tools.doctor\n"
        "print(sorted({'tensorflow', 'numpy', 'zmq', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
