"""Error messages about keys and values of the configuration."""

from __future__ import annotations

import difflib
import functools
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from incv3d.config.address import Address
from incv3d.config.events import EventsSection
from incv3d.config.schema import Config
from incv3d.config.source_types import TYPE_SYNONYMS, SourceType

LONGEST_QUOTE = 80
"""Characters of a wrong value that its message quotes."""
SHOW_ALL = "`incv3d check-config --show` lists all keys"
MAIN_KEYS = {
    "model": "name", "custom": "file", "session": "engine", "source": "path", "intake": "bind",
    "events": "allow", "saving": "folder", "mqtt": "host", "latency": "log", "http": "bind",
    "daemon": "log_level",
}  # fmt: skip
"""The key that is meant when a value is written instead of a section."""
SYNONYMS = {
    f"{section}.{word}".lstrip("."): meant
    for section, words, meant in (
        ("", "camera video input images", "source"),
        ("", "cameras", "sources"),
        ("", "logging log_level loglevel", "daemon.log_level"),
        ("", "network labels", "custom"),
        ("source", "url uri address device folder file user username password token", "source.path"),
        ("source", "rotate rotation flip", "source.transform"),
        ("mqtt", "broker server address hostname url", "mqtt.host"),
        ("mqtt", "topic base_topic", "mqtt.prefix"),
        ("http", "port host listen address", "http.bind"),
        ("http", "token password", "http.token_file"),
        ("intake", "port host listen address", "intake.bind"),
        ("model", "file path", "custom.file"),
        ("model", "labels", "custom.labels"),
        ("custom", "path model name", "custom.file"),
        ("saving", "path directory dir", "saving.folder"),
        ("latency", "file path", "latency.log"),
    )
    for word in words.split()
}
"""Keys that people write, and the keys that they mean."""


SECTIONS = tuple(name for name in Config.__struct_fields__ if name != "sources")
"""The parts of the configuration that are ``key: value`` lines. ``sources`` is a list of such parts."""


@functools.cache
def key_types(section: str) -> dict[str, Any]:
    """Return the type of each key of a section.

    ``sources[1]`` has the keys of ``source``, and ``source.events`` those of ``events``.
    """
    section, _, own = section.partition(".")
    name = own or ("source" if section.startswith("sources[") else section)
    return get_type_hints(type(getattr(Config(), name)), include_extras=True)


def wrong_value(kind: Any, value: object) -> str:
    """Return a message about a wrong value: ``must be a whole number from 1 to 9, not `many```.

    :param kind: its type in the schema.
    """
    return f"must be {expected(kind)}, not {quoted(value)}{_advice(kind, value)}"


def expected(kind: Any) -> str:
    """Return what may be written for a key of the type `kind`."""
    alternatives = list(dict.fromkeys(_alternatives(kind)))
    if len(alternatives) > 1:
        return f"{', '.join(alternatives[:-1])} or {alternatives[-1]}"
    return alternatives[0]


def _alternatives(kind: Any) -> Iterator[str]:
    origin = get_origin(kind)
    if origin is Annotated:
        base, *metas = get_args(kind)
        yield _limited(next(_alternatives(base)), [meta for meta in metas if isinstance(meta, msgspec.Meta)])
    elif origin in (Union, types.UnionType):
        for each in get_args(kind):
            yield from _alternatives(each)
    elif origin is Literal:
        yield from get_args(kind)
    elif origin is dict:
        yield f"`name: value` lines, each value {expected(get_args(kind)[1])}"
    elif origin is list:
        yield (
            "a list of numbers, such as [0.5, 1]"
            if get_args(kind)[0] is float
            else "a list, such as [one, two]"
        )
    elif origin is tuple:
        yield f"{len(get_args(kind))} numbers in brackets, such as [{', '.join('01'[: len(get_args(kind))])}]"
    else:
        yield from _PLAIN[kind]


_PLAIN: Mapping[Any, tuple[str, ...]] = {
    bool: ("true", "false"),
    int: ("a whole number",),
    float: ("a number",),
    str: ("text",),
    Address: ("a path or an address",),
    EventsSection: ("`key: value` lines",),
    type(None): ("null",),
}


def _limited(words: str, metas: list[msgspec.Meta]) -> str:
    for meta in metas:
        if meta.description:
            return meta.description
    lowest, above, highest, below = (
        next((getattr(meta, name) for meta in metas if getattr(meta, name) is not None), None)
        for name in ("ge", "gt", "le", "lt")
    )
    if lowest is not None and highest is not None:
        return f"{words} from {_number(lowest)} to {_number(highest)}"
    limits = [
        f"{limit} {_number(number)}"
        for limit, number in (
            ("at least", lowest), ("more than", above), ("at most", highest), ("less than", below)
        )
        if number is not None
    ]  # fmt: skip
    return f"{words}, {' and '.join(limits)}" if limits else words


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def quoted(value: object) -> str:
    """Return a wrong value as written in the file, without the secrets of an address."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "`name: value` lines"
    if isinstance(value, bytes):
        return "binary data"
    if value == "":
        return "empty text"
    text = str(Address(str(value)))
    return f"`{text if len(text) <= LONGEST_QUOTE else f'{text[:LONGEST_QUOTE]}…'}`"


def _advice(kind: Any, value: object) -> str:
    words = [each for each in _leaves(kind) if isinstance(each, str)]
    takes_text = bool(words) or any(each in (str, Address) for each in _leaves(kind))
    if isinstance(value, str) and any(each in (int, float) for each in _leaves(kind)):
        number = value.strip().replace(",", ".")
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", number):
            return f": write {number}, {'with a decimal point' if ',' in value else 'without quotes'}"
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d+", number, re.I):
            return "; YAML reads this as text; write the number without an exponent"
    if isinstance(value, bool) and takes_text:
        return "; YAML reads yes, no, on and off as true and false; put the word in quotes"
    if not isinstance(value, str | list | dict | None) and takes_text and not _says_how(kind):
        return "; put it in quotes"
    if isinstance(value, str) and words:
        meant = TYPE_SYNONYMS.get(value.lower(), "") if kind == SourceType else ""
        close = difflib.get_close_matches(value.lower(), words, 1)
        if meant or close:
            return f"; did you mean `{meant or close[0]}`?"
    return ""


def _says_how(kind: Any) -> bool:
    """Return whether the description of `kind` has an example, which a plain number does not resemble."""
    return ", such as " in expected(kind)


def _leaves(kind: Any) -> Iterator[Any]:
    """Yield the plain types and the words of a Literal in `kind`, except those of list elements."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _leaves(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for each in get_args(kind):
            yield from _leaves(each)
    elif origin is Literal:
        yield from get_args(kind)
    else:
        yield kind


def not_a_section(section: str, value: object) -> str:
    """Return a message about a value that was written instead of the keys of `section`."""
    said = f"must be `key: value` lines, not {quoted(value)}"
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        shown = str(Address(str(value)))[:LONGEST_QUOTE]
        return f"{said}; did you mean `{section}: {{{MAIN_KEYS[section]}: {shown}}}`?"
    return said


def unknown_key(section: str, name: str) -> str:
    """Return a message about an unknown key, with the key that was probably meant.

    :param section: empty: the key stands at the top of the file.
    """
    key, colon, _ = name.partition(":")
    if colon and "://" not in name:
        return f"unknown key; write a space after the colon: `{Address(key)}: …`"
    meant = _meant_key(section, key.lower().replace("-", "_"))
    return f"unknown key{meant} ({SHOW_ALL})"


def _meant_key(section: str, wanted: str) -> str:
    section = section.partition(".")[2] or ("source" if section.startswith("sources[") else section)
    all_types = {each: key_types(each) for each in SECTIONS}
    synonym = SYNONYMS.get(f"{section}.{wanted}".lstrip("."))
    if synonym:
        home, _, name = synonym.partition(".")
        return f"; did you mean `{name if home == section else synonym}`?"
    close = difflib.get_close_matches(wanted, all_types.get(section, all_types), 1)
    if close:
        return f"; did you mean `{close[0]}`?"
    homes = [each for each, keys in all_types.items() if wanted in keys]
    if homes:
        listed = " or ".join(f"`{each}:`" for each in homes)
        return f" here; `{wanted}` belongs under {listed}"
    everywhere = {key: each for each, keys in all_types.items() for key in keys}
    close = difflib.get_close_matches(wanted, everywhere, 1, cutoff=0.75)
    return f"; did you mean `{close[0]}` under `{everywhere[close[0]]}:`?" if close else ""
