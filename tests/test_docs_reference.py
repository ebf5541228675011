"""The documents are complete: every key, command, metric, event and exit status is explained."""

from __future__ import annotations

import ast
import importlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import msgspec
import pytest
import yaml

from incv3d import __version__
from incv3d.config import messages
from incv3d.config.loading import ENVIRONMENT, load_config
from incv3d.config.reloading import EFFECTS
from incv3d.config.schema import Config
from incv3d.frames import Refusal
from incv3d.latency.rolling import OUTCOMES
from incv3d.protocol.events import EventMessage, Reason
from incv3d.protocol.messages import Answer, Header
from incv3d.sources.base import SourceState
from incv3d.transports.mqtt import commands as mqtt_commands
from incv3d.transports.mqtt.publisher import PublishedResult, PublishedState
from pages import (
    CAMERAS,
    CHANGES,
    CHECKOUT,
    COMMANDS,
    CONFIGURATION,
    EVENTS,
    FRONT_PAGE,
    HTTP,
    MQTT,
    PAGES,
    PROTOCOL,
    SERVICE,
    Fence,
    all_codes,
    codes,
    codes_in,
    commands,
    fences,
    headings,
    name_of,
    rows,
    section,
)

CODE = CHECKOUT / "daemon" / "incv3d"
DEFAULT = Config()
SECTIONS = {name: getattr(DEFAULT, name) for name in messages.SECTIONS}
KEYS = {
    f"{name}.{field.name}": (field.type, getattr(values, field.name))
    for name, values in SECTIONS.items()
    for field in msgspec.structs.fields(type(values))
}
OTHER_NAMES = {"model.export", "events.present"}
"""Codes that look like a key: a function of Keras, a part of the answer to ``stats``."""
OWN_VARIABLES = {
    "INCV3D_TEACH_CALLER_TELLS",
    "INCV3D_SHARED",
    "INCV3D_SYSTEM",
    "INCV3D_COMMAND",
    "INCV3D_PYTHON",
}
"""What tests read, and what the installer's parts tell each other."""


# The configuration


def documented_keys() -> Iterator[tuple[Path, str, str]]:
    """Yield each row about a key: the page, the key, and what is said to be its default."""
    for page in PAGES:
        for cells in rows(page):
            names = codes_in(cells[0])
            if not names or any(name not in KEYS for name in names) or len(cells) != 3:
                continue
            if page == CONFIGURATION:
                continue
            defaults = [each.strip(" `") for each in cells[1].content.split(",")]
            if len(defaults) != len(names):
                defaults = [cells[1].content.strip("`")] * len(names)
            yield from ((page, name, default) for name, default in zip(names, defaults, strict=True))


def test_every_key_is_explained_once_with_its_default() -> None:
    found = list(documented_keys())
    assert sorted(key for _, key, _ in found) == sorted(KEYS)
    for page, key, said in found:
        default = msgspec.to_builtins(KEYS[key][1], enc_hook=str)
        assert yaml.safe_load(said) == default, f"{name_of(page)}: {key} is {default!r}, not {said}"


def test_no_page_names_a_key_that_does_not_exist() -> None:
    pattern = re.compile(rf"({'|'.join(SECTIONS)})\.[a-z_]+")
    named = {code for code in all_codes() if pattern.fullmatch(code) and not code.endswith(".py")}
    assert not (wrong := named - KEYS.keys() - OTHER_NAMES), sorted(wrong)


def words_of(kind: Any) -> set[str]:
    if get_origin(kind) is None:
        return set()
    if str(get_origin(kind)) == "typing.Literal":
        return {word for word in get_args(kind) if isinstance(word, str)}
    return {word for each in get_args(kind) for word in words_of(each)}


def test_every_word_that_a_key_takes_is_on_its_page() -> None:
    for page, key, _ in documented_keys():
        said = " ".join(codes(page))
        for word in words_of(KEYS[key][0]) - {str(KEYS[key][1])}:
            assert re.search(rf"(?<![\w-]){word}(?![\w-])", said), f"{name_of(page)}: {key}: {word}"


def test_the_page_about_the_configuration_has_every_section_and_variable() -> None:
    table = {code: codes_in(cells[1]) for cells in rows(CONFIGURATION) for code in codes_in(cells[0])}
    assert SECTIONS.keys() <= table.keys()
    assert {name: [key] for name, key in ENVIRONMENT.items()} == {
        code.removeprefix("$"): found for code, found in table.items() if code.startswith("$")
    }


def test_the_page_about_the_configuration_says_what_a_reload_does() -> None:
    effects = ("session", "source", "events", "at once", "restart")
    table = [cells for cells in rows(CONFIGURATION) if len(cells) == 2 and "all of" in cells[1].content]
    assert len(table) == len(effects)
    named = {code for cells in table for code in codes_in(cells[1]) if code in KEYS}
    for effect, cells in zip(effects, table, strict=True):
        here = codes_in(cells[1])
        said = {key for key in KEYS if key in here or (key not in named and key.partition(".")[0] in here)}
        assert said == {key for key, found in EFFECTS.items() if found == effect}, effect


def test_every_environment_variable_is_explained() -> None:
    scripts = [*(CHECKOUT / "systemd").iterdir(), CHECKOUT / "daemon" / "run"]
    files = [file for file in (*CODE.rglob("*.py"), *scripts) if file.suffix in ("", ".py", ".sh")]
    used = {name for file in files for name in re.findall(r"\bINCV3D_[A-Z_]+\b", file.read_text("utf-8"))}
    assert {f"${name}" for name in used - OWN_VARIABLES} <= all_codes()


@pytest.mark.parametrize(
    "fence",
    [each for page in PAGES for each in fences(page) if each.language == "yaml"],
    ids=str,
)
def test_configurations_can_be_read(fence: Fence, tmp_path: Path) -> None:
    """What other programs read is YAML, too."""
    document = yaml.safe_load(fence.text)
    if isinstance(document, dict) and document.keys() <= {*SECTIONS, "sources"}:
        (tmp_path / "incv3d.yaml").write_text(fence.text)
        load_config(str(tmp_path / "incv3d.yaml"), {})
    else:
        assert isinstance(document, list) or "scrape_configs" in document


# Commands


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_and_option_is_explained(name: str, command: click.Command) -> None:
    group, _, inner = name.partition(" ")
    text = section(COMMANDS, f"incv3d {group}")
    if inner:
        assert f"`incv3d {name}" in text
        text = next(line for line in text.splitlines() if f"`incv3d {name}" in line) + text.split("\n|")[0]
    for option in command.params:
        for word in option.opts:
            if word.startswith("--"):
                assert re.search(rf"{word}(?![\w-])", text), f"incv3d {name} {word}"


def test_every_explained_command_exists_and_is_on_the_front_page() -> None:
    tops = {name.split()[0] for name, _ in commands()}
    explained = {text.removeprefix("incv3d ") for _, text in headings(COMMANDS) if text.startswith("incv3d ")}
    assert explained == tops
    assert {f"incv3d {name}" for name in tops} <= codes(FRONT_PAGE)


def test_every_option_of_the_installer_is_explained() -> None:
    for script in ("install", "uninstall"):
        text = (CHECKOUT / "systemd" / script).read_text("utf-8")
        cases = re.findall(r"^ +((?:--[a-z-]+[ |]*)+)\)", text, re.MULTILINE)
        options = {option for case in cases for option in re.findall(r"--[a-z-]+", case)}
        assert "--dry-run" in options
        for option in options:
            assert f"`{option}" in SERVICE.read_text("utf-8"), f"systemd/{script} {option}"


# What the program says


def exit_statuses() -> set[int]:
    """Return every status with which a command or the daemon may end by its own decision."""
    found: set[int] = set()
    for file in CODE.rglob("*.py"):
        module = ".".join(file.relative_to(CODE.parent).with_suffix("").parts)
        if "graph" in module or module.endswith("__main__"):
            continue  # programs of their own, whose status only their parent sees
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "os._exit"):
                found |= statuses_in(node)
    health = importlib.import_module("incv3d.app.health")
    found |= {value for name, value in vars(health).items() if name.isupper() and type(value) is int}
    return found | {click.UsageError.exit_code}


def statuses_in(node: ast.AST) -> set[int]:
    """Return the numbers in `node`; ``128 + number`` is the status of a program that SIGTERM ended."""
    found = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
    numbers = {each for each in found if type(each) is int}
    return numbers - {128} | ({128 + signal.SIGTERM} if 128 in numbers else set())


def test_every_exit_status_is_in_the_one_table() -> None:
    found = exit_statuses()
    assert {0, 1, 2, 70, 75, 130} <= found, "the statuses are looked for in the wrong places"
    table = section(SERVICE, "Exit statuses")
    said = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert found <= said, sorted(found - said)
    pages = {page: page.read_text("utf-8") for page in PAGES if page != SERVICE}
    others = [name_of(page) for page, text in pages.items() if "\n| 70 |" in text]
    assert not others, f"{others}: a second table of exit statuses"


def test_every_error_code_is_explained() -> None:
    table = section(PROTOCOL, "Error codes")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [code.value for code in Refusal]
    assert {*OUTCOMES} <= codes(HTTP) | codes(PROTOCOL)


def test_every_event_is_explained() -> None:
    assert {*EventMessage.__struct_fields__} - {"v"} <= codes(EVENTS)
    assert {*get_args(Reason)} == {
        codes_in(cells[0])[0] for cells in rows(EVENTS) if codes_in(cells[0])[:1] and len(cells) == 2
    } & {*get_args(Reason)}
    assert {"entered", "left"} <= codes(EVENTS)


def test_every_state_of_a_camera_is_explained() -> None:
    table = section(CAMERAS, "When a camera fails")
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(get_args(SourceState))


def test_every_field_of_the_wire_is_explained() -> None:
    assert {*Header.__struct_fields__, *Answer.__struct_fields__} - {"code", "detail"} <= codes(PROTOCOL)
    assert {*Header.__annotations__["encoding"].split('"')[1::2]} <= codes(PROTOCOL)


def test_everything_that_is_said_over_mqtt_is_explained() -> None:
    state, result = PublishedState.__struct_fields__, PublishedResult.__struct_fields__
    assert {*state, *result} - {"v"} <= codes(MQTT)
    assert set(mqtt_commands.WORDS) <= {code.split()[0] for code in codes(MQTT)}
    text = (CODE / "transports" / "mqtt" / "topics.py").read_text("utf-8")
    topics = re.findall(r'self\._of\(f?"(\w+)', text)
    assert len(topics) >= 6
    for topic in topics:
        assert re.search(rf"`…/{topic}\b", MQTT.read_text("utf-8")), topic


def metric_names() -> set[str]:
    """Return the names in the code; those with a part that is put in are left to the daemon's test."""
    found = set()
    for file in (CODE / "transports" / "http").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"incv3d_\w+", str(node.value)):
                found.add(str(node.value))
    return found


def test_every_metric_is_explained() -> None:
    names = metric_names()
    assert len(names) > 12
    said = {re.sub(r"_(total|info)$", "", code) for code in codes(HTTP) if code.startswith("incv3d_")}
    assert names <= {*said, "incv3d_"}, sorted(names - said)


def test_the_changes_begin_with_this_version() -> None:
    versions = [text for level, text in headings(CHANGES) if level == 2]
    assert versions[0] == __version__
