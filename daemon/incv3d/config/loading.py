"""Load the configuration from YAML, environment and command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
import yaml

from incv3d.config.address import Address
from incv3d.config.checks import FilePath, is_file_path
from incv3d.config.messages import SECTIONS, key_types, not_a_section, quoted, unknown_key, wrong_value
from incv3d.config.paths import absolute_path
from incv3d.config.schema import Config
from incv3d.config.source_types import names_camera
from incv3d.config.yaml_errors import explained
from incv3d.errors import Incv3dError, one_line

SYSTEM_FILE = Path("/etc/incv3d/incv3d.yaml")
LONGEST_MESSAGE = 1000
LARGEST_FILE = 1024 * 1024
SOURCES_EXAMPLE = "such as [{name: door, path: /dev/video0}]"

ENVIRONMENT = {
    "INCV3D_MODEL": "model.name",
    "INCV3D_FETCH_WAIT_S": "model.fetch_wait_s",
    "INCV3D_THREADS": "session.threads",
    "INCV3D_PREPROCESS": "session.preprocess",
    "INCV3D_WARMUP_RUNS": "session.warmup_runs",
    "INCV3D_BIND": "intake.bind",
    "INCV3D_PUBLISH": "intake.publish",
    "INCV3D_LATENCY_LOG": "latency.log",
    "INCV3D_HTTP": "http.bind",
    "INCV3D_LOG_LEVEL": "daemon.log_level",
}
"""Environment variables, and the key that each overrides."""


class ConfigError(Incv3dError):
    """Raised when the configuration cannot be used; the message names file, line and key."""

    is_lasting = True

    def __init__(self, message: str) -> None:
        # The message quotes the file, which may contain anything.
        printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        super().__init__(
            printable if len(printable) <= LONGEST_MESSAGE else f"{printable[:LONGEST_MESSAGE]}…"
        )


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and where it came from."""

    config: Config
    path: Path | None
    """None: there is no file, the built-in defaults apply."""
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where each key was set: ``FILE:LINE: intake.bind``, ``$INCV3D_BIND``."""

    def place(self, key: str) -> str:
        """Return where `key` was set, as the beginning of a message about it."""
        return self.places.get(key, f"{self.origin}: {key}")

    @property
    def origin(self) -> str:
        """The path of the file, or ``built-in defaults``."""
        return str(self.path) if self.path else "built-in defaults"


def as_builtins(config: Config) -> dict[str, dict[str, Any]]:
    """Return the sections of `config` with their keys and values, without the secrets of addresses."""
    shown: dict[str, dict[str, Any]] = msgspec.to_builtins(config, enc_hook=str)
    return shown


def _decoded(kind: type, value: object) -> object:
    if kind is not Address or not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return Address(value)


def find_config_file(given: str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file: `given` (``--config``), ``$INCV3D_CONFIG``, or the system's; None: none.

    :raises ConfigError: a file that was named does not exist.
    """
    for named, origin in ((given, ""), (environ.get("INCV3D_CONFIG"), " (from $INCV3D_CONFIG)")):
        if named:
            path = Path(named).expanduser()
            if path.is_dir():
                raise ConfigError(f"{path}: a folder, not a configuration file")
            if not path.exists():
                raise ConfigError(f"{path}: no such file{origin}")
            if not path.is_file():
                raise ConfigError(f"{path}: not a regular file{origin}")
            return path
    return SYSTEM_FILE if SYSTEM_FILE.is_file() else None


def load_config(
    given: str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> LoadedConfig:
    """Load the configuration: the file, overridden by the environment, overridden by the command line.

    :param given: the value of ``--config``.
    :param overrides: command-line values by dotted key, ``{"model.name": "inception-v3"}``; None: not given.
    :raises ConfigError: one line with file, line number and key.

    Relative paths in the file start at the file's folder, others at the working directory.
    """
    environ = os.environ if environ is None else environ
    path = find_config_file(given, environ)
    document, lines = read_yaml(path) if path else ({}, {})
    if path:
        _find_paths(document, path.absolute().parent)
    origins: dict[str, str] = {}
    for variable, key in ENVIRONMENT.items():
        if environ.get(variable):
            _set(document, key, _from_word(key, environ[variable]), f"${variable}", origins)
    if (overrides or {}).get("source.path"):
        document.pop("sources", None)  # the command line names another source, instead of all of these
    for key, value in (overrides or {}).items():
        if value is not None:
            _set(document, key, value, f"the command line ({key})", origins)
    _imply_type(document)
    _find_paths(document, Path.cwd())
    try:
        config = msgspec.convert(document, Config, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), document, path, lines, origins)) from None
    places = {key: f"{path}:{line}: {key}" for key, line in lines.items()} | origins
    return LoadedConfig(config, path, places)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Parse a YAML file.

    :returns: the document, and the line of each key, ``{"intake.bind": 12, ...}``; lines count from 1.
    :raises ConfigError: it is unreadable, not UTF-8, not YAML, not a mapping, or sets a key twice.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{path}: larger than {LARGEST_FILE} bytes; this is not a configuration file")
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    lines: dict[str, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return {}, {}
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}:{root.start_mark.line + 1}: must contain `key: value` lines")
        _note_lines(root, "", lines, path)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {explained(error.problem)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {one_line(error)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    # A section whose keys are all commented out is null in YAML; it has the defaults.
    return {key: value for key, value in document.items() if value is not None}, lines


def _note_lines(node: yaml.MappingNode, prefix: str, lines: dict[str, int], path: Path) -> None:
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
            written = quoted(key_node.value if isinstance(key_node, yaml.ScalarNode) else [])
            raise ConfigError(
                f"{path}:{line}: a key must be a plain word, not {written}; write a list in brackets: [1, 2]"
            )
        key = f"{prefix}{key_node.value}"
        if key in lines:
            raise ConfigError(f"{path}:{line}: `{key}` is set twice (first in line {lines[key]})")
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode):
            _note_lines(value_node, f"{key}.", lines, path)
        elif isinstance(value_node, yaml.SequenceNode):
            for number, element in enumerate(value_node.value):
                if isinstance(element, yaml.MappingNode):
                    lines[f"{key}[{number}]"] = element.start_mark.line + 1
                    _note_lines(element, f"{key}[{number}].", lines, path)


def _set(document: dict[str, Any], key: str, value: Any, origin: str, origins: dict[str, str]) -> None:
    section, name = key.split(".")
    if section in document and not isinstance(document[section], dict):
        return  # the mistake in the file is reported instead
    document.setdefault(section, {})[name] = value
    origins[key] = origin


def _from_word(key: str, word: str) -> Any:
    """Convert the value of an environment variable to the type of `key`, if possible."""
    section, name = key.split(".")
    kind = key_types(section)[name]
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if base is str:
        return word
    try:
        return msgspec.convert(word, base, strict=False)
    except msgspec.ValidationError:
        return word


def _sections_of(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each part that consists of keys, ``source`` or ``sources[0]``, and the part."""
    for name, part in document.items():
        if name == "sources" and isinstance(part, list):
            sections = [(f"{name}[{n}]", each) for n, each in enumerate(part)]
        else:
            sections = [(name, part)] if name in SECTIONS else []
        for section, keys in sections:
            if isinstance(keys, dict):
                yield section, keys
                if section.startswith("source") and isinstance(keys.get("events"), dict):
                    yield f"{section}.events", keys["events"]


def _imply_type(document: dict[str, Any]) -> None:
    """Set the type of a source that has a path or addresses but no type."""
    for section, source in _sections_of(document):
        if section.startswith("source") and "." not in section and source.get("type") is None:
            if source.get("path") not in (None, ""):
                source["type"] = "auto"
            elif source.get("addresses"):
                source["type"] = "imagezmq"


def _find_paths(document: dict[str, Any], folder: Path) -> None:
    """Make every path in `document` absolute: ``~`` is the home folder, relative paths start at `folder`."""
    for section, given in _sections_of(document):
        for key, kind in key_types(section).items():
            value = given.get(key)
            if isinstance(value, int) and kind is Address and not isinstance(value, bool):
                given[key] = str(value)  # a device number
            elif isinstance(value, str) and kind == FilePath and is_file_path(value):
                given[key] = absolute_path(value, folder)
            elif isinstance(value, str) and value and kind is Address:
                address = Address(value)
                if address.is_path and not address.has_secret and not names_camera(address):
                    given[key] = absolute_path(value, folder)


def _explain(
    message: str,
    document: Mapping[str, Any],
    path: Path | None,
    lines: Mapping[str, int],
    origins: Mapping[str, str],
) -> str:
    """Turn msgspec's ``... - at `$.intake.bind``` into ``FILE:LINE: intake.bind: ...`` in plain words."""
    text, _, at = message.rpartition(" - at `")
    if not text:
        text, at = message, "$`"
    found = re.match(r"(sources\[\d+\])?[^\[]*", at.rstrip("`").removeprefix("key in ").lstrip("$."))
    key = found[0] if found else ""
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL)
    checked = re.fullmatch(r"((?:sources\[\d+\])?[\w.-]+): (.*)", text, re.DOTALL)
    if unknown:
        text = unknown_key(key, unknown[1])
        key = f"{key}.{_plain(unknown[1])}".lstrip(".")
    elif checked:
        key, text = f"{key}.{checked[1]}".lstrip("."), checked[2]
    else:
        key, text = _mistyped(key, document)
    if key in origins:
        return f"{origins[key]}: {text}"
    line = next((lines[k] for k in _ancestors(key) if k in lines), None)
    where = f"{path}:{line}" if line else str(path or "configuration")
    return f"{where}: {key}: {text}" if key else f"{where}: {text}"


def _mistyped(key: str, document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the key whose value has the wrong type, and a message about it."""
    sections = dict(_sections_of(document))
    section, _, name = key.partition(".")
    if name.startswith("events.") and f"{section}.events" in sections:
        section, name = f"{section}.events", name.removeprefix("events.")
    value = sections.get(section, document.get(section))
    if section == "sources":
        return key, f"must be a list of sources, {SOURCES_EXAMPLE}, not {quoted(value)}"
    if section.startswith("sources[") and not name:
        return key, f"must be the keys of a source, {SOURCES_EXAMPLE}"
    if not name:
        return key, not_a_section(key, value)
    kind = key_types(section)[name]
    value = value[name] if isinstance(value, dict) else value
    if get_origin(kind) is dict and isinstance(value, dict):
        for entry, each in value.items():
            with_kind = get_args(kind)[1]
            try:
                msgspec.convert(each, with_kind)
            except msgspec.ValidationError:
                return f"{key}.{_plain(str(entry))}", _wrong(with_kind, each)
    return key, _wrong(kind, value)


def _wrong(kind: Any, value: object) -> str:
    """Return :func:`wrong_value`, for a list about its first wrong element."""
    kind_or_union = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    for each in (kind,) if get_origin(kind) is dict else (kind_or_union, *get_args(kind_or_union)):
        if get_origin(each) is list and isinstance(value, list):
            for element in value:
                try:
                    msgspec.convert(element, get_args(each)[0], dec_hook=_decoded)
                except msgspec.ValidationError:
                    return f"in the list: {wrong_value(get_args(each)[0], element)}"
    return wrong_value(kind, value)


def _plain(key: str) -> str:
    return str(Address(key))


def _ancestors(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
