"""Every word that a key of the configuration takes is implemented, documented and listed in incv3d.yaml."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

import incv3d.engines
import incv3d.sources
from incv3d.config.messages import SECTIONS, key_types
from incv3d.config.source import SourceSection
from incv3d.config.source_types import CAMERAS, OPENABLE_TYPES, TYPE_KEYS, OpenableType, SourceType, facts_of
from incv3d.engines import EngineName, engine_for, engine_of
from incv3d.engines.base import ModelFormat
from incv3d.frames import Transform
from incv3d.sources.factory import backend_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    page: page.read_text("utf-8")
    for folder in (".", "config", "systemd", "tests", "daemon", "daemon/docs")
    for page in sorted((ROOT / folder).glob("*.md"))
    if page != ROOT / "daemon/README.md"  # for engineers
}
YAML = (ROOT / "config/incv3d.yaml").read_text("utf-8")


def words_of(kind: Any) -> Iterator[str]:
    """Yield the words among the values that a key of this type takes."""
    if get_origin(kind) is Literal:
        yield from (each for each in get_args(kind) if isinstance(each, str))
    else:
        for each in get_args(kind):
            yield from words_of(each)


WORDS = [
    (section, key, word)
    for section in SECTIONS
    for key, kind in key_types(section).items()
    for word in words_of(kind)
]


def line_of(section: str, key: str) -> str:
    """Return the line of a key in incv3d.yaml."""
    text = YAML[re.search(rf"^{section}:", YAML, re.M).end() :]
    return re.search(rf"^  {key}: .*$", text, re.M)[0]


def names(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


@pytest.mark.parametrize(("section", "key", "word"), WORDS)
def test_the_line_of_a_key_lists_each_word_that_it_takes(section: str, key: str, word: str) -> None:
    line = line_of(section, key)
    assert names(line, word), f"config/incv3d.yaml: {section}.{key} does not list `{word}`: {line}"


@pytest.mark.parametrize("word", get_args(SourceType))
def test_a_source_type_is_documented(word: str) -> None:
    example = re.compile(rf"`{word}`|\btype: {word}\b|`type: {word}`")
    assert any(example.search(text) for text in PAGES.values()), f"no page explains source.type: {word}"


@pytest.mark.parametrize("word", get_args(EngineName))
def test_an_engine_is_documented(word: str) -> None:
    example = re.compile(rf"`{word}`|\bengine: {word}\b")
    assert any(example.search(text) for text in PAGES.values()), f"no page explains session.engine: {word}"


@pytest.mark.parametrize("kind", OPENABLE_TYPES)
def test_a_source_type_is_implemented_in_the_file_of_its_name(kind: OpenableType) -> None:
    backend = backend_of(kind)
    module = sys.modules[f"incv3d.sources.{kind}"]
    assert backend in vars(module).values(), f"sources/{kind}.py defines another backend"
    assert set(backend.transforms) <= set(get_args(Transform))


@pytest.mark.parametrize("kind", OPENABLE_TYPES)
def test_a_source_type_uses_keys_that_there_are(kind: OpenableType) -> None:
    assert set(facts_of(kind).keys) <= set(SourceSection.__struct_fields__)


@pytest.mark.parametrize("key", TYPE_KEYS)
def test_the_line_of_a_key_names_the_types_that_use_it(key: str) -> None:
    """Cameras may be named together; a key of all types is not in this list."""
    users = [kind for kind in OPENABLE_TYPES if key in facts_of(kind).keys]
    line = line_of("source", key)
    missing = [
        kind
        for kind in users
        if not names(line, kind) and not (facts_of(kind).is_camera and names(line, "cameras"))
    ]
    assert not missing, f"{line} does not say that {', '.join(missing)} uses it"


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_camera_type_can_be_listed_and_diagnosed(kind: OpenableType) -> None:
    backend = backend_of(kind)
    assert backend.list_cameras and backend.device_nodes and backend.absence_fix
    assert backend.absence(SourceSection(type=kind), 0) and not backend.absence(SourceSection(type=kind), 1)


@pytest.mark.parametrize("name", get_args(EngineName))
def test_an_engine_is_implemented_in_the_file_of_its_name(name: EngineName) -> None:
    engine = engine_of(name)
    module = sys.modules[f"incv3d.engines.{name}"]
    assert engine in vars(module).values() and engine.name == name


def test_the_configuration_and_the_registry_name_the_same_engines() -> None:
    assert set(words_of(key_types("session")["engine"])) == {"auto", *get_args(EngineName)}


@pytest.mark.parametrize("format_", get_args(ModelFormat))
def test_each_format_of_stored_models_has_an_engine(format_: ModelFormat) -> None:
    assert engine_for(format_).format == format_


def test_the_registries_import_no_library() -> None:
    libraries = [library.name for kind in OPENABLE_TYPES if (library := backend_of(kind).library)]
    libraries += [engine_of(name).module for name in get_args(EngineName)]
    code = (
        "import sys\n"
        "from incv3d.config.source_types import OPENABLE_TYPES\n"
        "from incv3d.engines import EngineName, engine_of\n"
        "from incv3d.sources.factory import backend_of\n"
        "for kind in OPENABLE_TYPES: backend_of(kind)\n"
        "for name in EngineName.__args__: engine_of(name)\n"
        f"print(sorted({{*sys.modules}} & {set(libraries)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert libraries and done.stdout == "[]\n"


def test_every_file_of_the_registries_is_a_word() -> None:
    """A file that is left behind when a word is removed would never be used."""
    stated = {
        path.stem
        for room, sign in ((incv3d.sources, "= SourceBackend("), (incv3d.engines, "= Engine("))
        for path in Path(room.__path__[0]).glob("*.py")
        if sign in path.read_text("utf-8")
    }
    assert stated == {*OPENABLE_TYPES, *get_args(EngineName)}
