"""The rooms of the package: which there are, which may import which, and what they must not import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "daemon" / "incv3d"
RANKS = {
    "cli": 10,
    "tools": 9,
    "app": 8,
    "transports": 7,
    "history": 6,
    "clips": 6,
    "notify": 6,
    "sources": 5,
    "events": 5,
    "teaching": 5,
    "pipeline": 4,
    "models": 3,
    "images": 2,
    "client": 2,
    "engines": 1,
    "latency": 1,
    "protocol": 1,
    "config": 1,
}
"""The rooms. Each may import rooms of a lower rank, and the shared files."""
SHARED = {"errors", "frames", "machine", "threads", "child_process", "clock"}
"""Files at the top that every room may import, and that import no room."""
PROGRAM = {"__init__", "__main__"}
LONGEST_FILE = 350
LONGEST_FUNCTION = 60
COSTLY = ("tensorflow", "numpy", "PIL", "aiohttp", "paho", "ai_edge_litert", "simplejpeg", "av")


@dataclass(frozen=True)
class Import:
    """One import of a module of the package by another, both dotted: ``incv3d.pipeline.workers``."""

    importer: str
    imported: str
    line: int
    at_start: bool
    """Whether it is executed when the importer is imported: not in a function, and not for types alone."""

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


def imports_of(module: str) -> Iterator[Import]:
    tree = ast.parse(FILES[module].read_text("utf-8"))
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            longer = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [each if each in FILES else node.module for each in longer]
        for name in dict.fromkeys(names):
            if name in FILES and name != module:
                yield Import(module, name, node.lineno, id(node) not in later)


IMPORTS = [each for module in FILES for each in imports_of(module)]


def test_the_top_of_the_package_holds_the_rooms_and_the_shared_files_and_nothing_else() -> None:
    folders = {each.name for each in PACKAGE.iterdir() if each.is_dir() and any(each.rglob("*.py"))}
    files = {each.stem for each in PACKAGE.glob("*.py")}
    assert folders == set(RANKS), "a new room needs a rank here and a line in daemon/README.md"
    assert files == SHARED | PROGRAM


def test_imports_go_down_the_ranks() -> None:
    upward = [
        str(each)
        for each in IMPORTS
        if room_of(each.importer) != room_of(each.imported)
        and each.imported != "incv3d"
        and room_of(each.importer) not in PROGRAM
        and RANKS.get(room_of(each.imported), 0) >= RANKS.get(room_of(each.importer), 0)
        and not (room_of(each.importer) in SHARED and room_of(each.imported) in SHARED)
    ]
    assert not upward, "\n".join(upward)


def test_the_shared_files_import_no_room() -> None:
    wrong = [
        str(each) for each in IMPORTS if room_of(each.importer) in SHARED and room_of(each.imported) in RANKS
    ]
    assert not wrong, "\n".join(wrong)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return a path that leads back to its start; empty: there is none."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for each in sorted(edges.get(module, ())):
            if found := walk(each, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in edges if (found := walk(module, []))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for each in IMPORTS:
        if not each.imported.startswith(each.importer + ".") and FILES[each.imported].name != "__init__.py":
            edges.setdefault(each.importer, set()).add(each.imported)
    assert not (found := circle(edges)), " -> ".join(found)


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_files_and_functions_are_short() -> None:
    longer: list[str] = []
    for path in (*PACKAGE.rglob("*.py"), *Path(__file__).parent.rglob("*.py")):
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > LONGEST_FILE:
            longer.append(f"{path}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    longer.append(f"{path}:{node.lineno}: {node.name} has {lines} lines")
    assert not longer, "\n".join(longer)


def test_paths_of_this_checkout_that_tests_and_scripts_name_exist() -> None:
    checkout = PACKAGE.parents[1]
    named = re.compile(r"\b(?:daemon/incv3d|tests)/[\w./-]*[\w/]")
    missing = [
        f"{path.relative_to(checkout)}: {name}"
        for folder in (".ci", "daemon/incv3d", "systemd", "tests")
        for path in sorted((checkout / folder).rglob("*"))
        if path.is_file() and (path.suffix in (".py", ".sh", ".txt", ".yaml") or not path.suffix)
        for name in named.findall(path.read_text("utf-8", "replace"))
        if not (checkout / name).exists()
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("code", "free_of"),
    [
        ("import incv3d.cli; incv3d.cli.main()", (*COSTLY, "zmq", "msgspec", "yaml")),
        ("import incv3d.client", (*COSTLY, "yaml", "click")),
        ("import incv3d.config.loading", (*COSTLY, "zmq")),
        ("import incv3d.tools.doctor", (*COSTLY, "zmq")),
        ("import incv3d.app.daemon", ("tensorflow", "aiohttp", "paho", "ai_edge_litert", "av")),
    ],
    ids=["help", "client", "config", "doctor", "daemon"],
)
def test_what_is_costly_is_imported_only_where_it_is_used(code: str, free_of: tuple[str, ...]) -> None:
    program = (
        "import sys\nsys.argv = ['incv3d', '--help']\n"
        "try:\n    " + code + "\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("MODULES")[2].split()
    assert not (found := set(loaded) & set(free_of)), f"it imports {', '.join(sorted(found))}"


def test_the_page_for_engineers_names_every_room_and_only_files_that_exist() -> None:
    page = (PACKAGE.parent / "README.md").read_text("utf-8")
    for name in (*(f"{room}/" for room in RANKS), *(f"{file}.py" for file in SHARED)):
        assert f"`{name}`" in page, name
    files = {each.relative_to(PACKAGE).as_posix() for each in PACKAGE.rglob("*") if each.is_file()}
    for name in set(re.findall(r"`([\w./-]+\.(?:py|js))`", page)):
        is_there = (PACKAGE.parents[1] / name).is_file()
        assert is_there or any(f"/{file}".endswith(f"/{name}") for file in files), f"{name} is not there"
