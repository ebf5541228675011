"""The documents as Markdown: headings, links, code, tables; and the commands that they explain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

from incv3d.cli import cli

CHECKOUT = Path(__file__).resolve().parents[2]
FRONT_PAGE = CHECKOUT / "README.md"
CONFIGURATION = CHECKOUT / "config" / "README.md"
CAMERAS = CHECKOUT / "config" / "cameras.md"
EVENTS = CHECKOUT / "config" / "events.md"
HTTP = CHECKOUT / "config" / "http.md"
MQTT = CHECKOUT / "config" / "mqtt.md"
TEACHING = CHECKOUT / "config" / "teaching.md"
SERVICE = CHECKOUT / "systemd" / "README.md"
CHANGES = CHECKOUT / "daemon" / "docs" / "changes.md"
COMMANDS = CHECKOUT / "daemon" / "docs" / "commands.md"
LATENCY_LOG = CHECKOUT / "daemon" / "docs" / "latency-log.md"
PROTOCOL = CHECKOUT / "daemon" / "docs" / "protocol.md"
FOLDERS = (".", "config", "systemd", "daemon", "daemon/docs", "tests")
PAGES = [page for folder in FOLDERS for page in sorted((CHECKOUT / folder).glob("*.md"))]


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code."""

    page: Path
    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """Return what is typed, of a block that shows a terminal."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


@cache
def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def inline(page: Path) -> Iterator[Token]:
    """Yield every piece of text, link, image and code of `page`."""
    for token in tokens_of(page):
        yield from token.children or ()


def fences(page: Path) -> list[Fence]:
    return [
        Fence(page, token.info, token.content, token.map[0] + 1 if token.map else 0)
        for token in tokens_of(page)
        if token.type == "fence"
    ]


def codes(page: Path) -> set[str]:
    """Return everything that `page` sets as code within its text and tables."""
    return {token.content for token in inline(page) if token.type == "code_inline"}


def headings(page: Path) -> list[tuple[int, str]]:
    """Return level and text of each heading."""
    tokens = tokens_of(page)
    return [
        (int(token.tag[1]), "".join(each.content for each in tokens[number + 1].children or ()))
        for number, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub forms them."""
    return {
        re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings(page)
    }  # fmt: skip


def links(page: Path) -> list[str]:
    """Return where the links and images of `page` lead to."""
    targets = [token.attrGet("href") or token.attrGet("src") for token in inline(page)]
    return [str(target) for target in targets if target]


def rows(page: Path) -> list[list[Token]]:
    """Return the cells of every row of every table."""
    found: list[list[Token]] = []
    tokens = tokens_of(page)
    for number, token in enumerate(tokens):
        if token.type == "tr_open":
            found.append([])
        elif token.type == "td_open":
            found[-1].append(tokens[number + 1])
    return [row for row in found if row]


def codes_in(cell: Token) -> list[str]:
    return [token.content for token in cell.children or () if token.type == "code_inline"]


def section(page: Path, heading: str) -> str:
    """Return the text of `page` from `heading` to the next one of its level or above."""
    lines = page.read_text("utf-8").splitlines()
    level = {text: level for level, text in headings(page)}.get(heading)
    assert level, f"{name_of(page)} has no section `{heading}`"
    start = lines.index(f"{'#' * level} {heading}")
    ends = (
        number
        for number in range(start + 1, len(lines))
        if re.match(rf"#{{1,{level}}} ", lines[number])
    )  # fmt: skip
    return "\n".join(lines[start : next(ends, len(lines))])


def all_codes() -> set[str]:
    return {code for page in PAGES for code in codes(page)}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, as ``model fetch``."""
    with click.Context(cli) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            if isinstance(command, click.Group):
                if command.params:
                    yield name, command
                yield from ((f"{name} {each}", inner) for each, inner in command.commands.items())
            elif command:
                yield name, command
