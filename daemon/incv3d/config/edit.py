"""Change one key of a configuration file, and nothing else: comments, order and layout stay.

``python -m incv3d.config.edit FILE SECTION.KEY=VALUE...`` is what the installer runs.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from incv3d.config.loading import ConfigError, read_yaml
from incv3d.errors import Incv3dError


def set_key(path: Path, key: str, value: str) -> bool:
    """Set `key` (``model.name``) to `value` in the YAML file at `path`, in one step.

    A link is followed; mode and owner stay.

    :returns: whether that changed the file.
    :raises ConfigError: the file cannot be read or written, or is written in a way that cannot be edited.
    """
    target = path.resolve()
    before, _ = read_yaml(target)
    section, _, name = key.partition(".")
    held = before.get(section)
    if isinstance(held, dict) and held.get(name) == value:
        return False
    if held is not None and not isinstance(held, dict):
        raise _not_editable(path, key, value)
    text = edited(target.read_bytes().decode(), section, name, value)
    wanted = {**before, section: {**(held or {}), name: value}}
    # An anchor or a tag can make one place mean several: then a person must decide.
    if _parsed(text) != wanted:
        raise _not_editable(path, key, value)
    try:
        _replace(target, text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    return True


def edited(text: str, section: str, name: str, value: str) -> str:
    """Return the YAML `text` with the key `name` of `section` set to `value`.

    :param text: a valid YAML mapping, or an empty document.
    """
    word = _as_word(value)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found = _child(root, section)
    if found is None:
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}{section}:\n  {name}: {word}\n"
    key, node = found
    if not isinstance(node, yaml.MappingNode):  # all its keys are commented out
        at = _line_end(text, key.end_mark.index)
        return f"{text[:at]}\n{' ' * key.start_mark.column}  {name}: {word}{text[at:]}"
    held = _child(node, name)
    if held is not None:
        return _with_value(text, held[1], word)
    if node.flow_style:
        at = node.start_mark.index + 1
        return f"{text[:at]}{name}: {word}{', ' if node.value else ''}{text[at:]}"
    at = node.value[0][0].start_mark.index
    return f"{text[:at]}{name}: {word}\n{' ' * node.value[0][0].start_mark.column}{text[at:]}"


def _with_value(text: str, node: yaml.Node, word: str) -> str:
    """Put `word` in the place of the value `node`; a comment behind it stays in its column if it can."""
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:  # there is no value
        word = f" {word}"
    rest = text[end:]
    spaces = len(rest) - len(rest.lstrip(" "))
    if rest[spaces : spaces + 1] == "#" and "\n" not in text[start:end]:
        column = end - start + spaces
        rest = " " * max(column - len(word), 1) + rest[spaces:]
    return f"{text[:start]}{word}{rest}"


def _child(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((pair for pair in node.value if pair[0].value == name), None)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _as_word(value: str) -> str:
    """Return `value` as a YAML scalar, quoted only where it would be something else."""
    with contextlib.suppress(yaml.YAMLError):
        if "," not in value and yaml.safe_load(f"[{value}]") == [value]:
            return value
    return "'" + value.replace("'", "''") + "'"


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return {key: value for key, value in found.items() if value is not None}


def _not_editable(path: Path, key: str, value: str) -> ConfigError:
    section, _, name = key.partition(".")
    return ConfigError(f"{path}: set `{name}: {value}` under `{section}:` there by hand")


def _replace(path: Path, text: str) -> None:
    """Write `text` to the file at `path`, so that after a power cut it has its old or its new content."""
    was = path.stat()
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(text.encode())
            file.flush()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


if __name__ == "__main__":
    try:
        for word in sys.argv[2:]:
            set_key(Path(sys.argv[1]), *word.split("=", 1))
    except Incv3dError as error:
        sys.exit(f"incv3d: {error}")
