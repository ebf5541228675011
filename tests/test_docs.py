"""The documents: every link leads somewhere, every page is found, and the code in them is whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pages import (
    CHECKOUT,
    FRONT_PAGE,
    PAGES,
    Fence,
    anchors,
    commands,
    fences,
    headings,
    links,
    name_of,
)

CODE = CHECKOUT / "daemon" / "incv3d"
LONGEST_FRONT_PAGE = 200


every_page = pytest.mark.parametrize("page", PAGES, ids=[name_of(page) for page in PAGES])


def test_the_front_page_is_short() -> None:
    assert len(FRONT_PAGE.read_text("utf-8").splitlines()) <= LONGEST_FRONT_PAGE


@every_page
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("http", "https"), link
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.is_relative_to(CHECKOUT) and target.exists(), f"{link} is not there"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{link}: {name_of(target)} has no such heading"


def test_every_page_is_reachable_from_the_front_page() -> None:
    found, waiting = set(), [FRONT_PAGE]
    while waiting:
        page = waiting.pop()
        if page in found:
            continue
        found.add(page)
        paths = (urlsplit(link).path for link in links(page) if not urlsplit(link).scheme)
        waiting += [target for path in paths if (target := (page.parent / path).resolve()) in PAGES]
    assert not (lost := set(PAGES) - found), sorted(map(name_of, lost))


@every_page
def test_a_page_begins_with_an_example_and_ends_with_links(page: Path) -> None:
    levels = [level for level, _ in headings(page)]
    assert levels[0] == 1 and levels.count(1) == 1
    if page == FRONT_PAGE:
        return
    text = page.read_text("utf-8")
    assert "```" in text.split("\n## ")[0], "the shortest working example belongs at the top"
    assert headings(page)[-1] == (2, "See also")


@every_page
def test_prose_fits_a_terminal(page: Path) -> None:
    """Tables, output and long links excepted."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        assert len(line) <= 110 or line.startswith(("|", "!")) or len(line.split()) < 3, line


@pytest.mark.parametrize(
    "fence",
    [each for page in PAGES for each in fences(page) if each.language in ("python", "sh")],
    ids=str,
)
def test_code_is_whole(fence: Fence) -> None:
    if fence.language == "python":
        compile(fence.text, str(fence), "exec")
    else:
        done = subprocess.run(["sh", "-n"], input=fence.text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@every_page
def test_commands_of_incv3d_in_the_pages_exist(page: Path) -> None:
    known = dict(commands())
    for fence in fences(page):
        for line in fence.commands:
            words = re.sub(r"^(sudo|\.venv/bin/)\s*", "", line.replace(".venv/bin/", "")).split()
            if words[0] != "incv3d" or words[1].startswith("--"):
                continue
            command = known.get(words[1]) or known.get(" ".join(words[1:3]))
            assert command, f"{fence}: {line}"
            options = {word for each in command.params for word in each.opts} | {"--help"}
            if command.name not in ("install", "upgrade", "uninstall"):
                used = {word for word in words if word.startswith("--")}
                assert used <= options, f"{fence}: {line}"


def test_scripts_in_the_pages_are_there() -> None:
    for page in PAGES:
        for word in re.findall(r"\btests/\w+/\w+\.py\b", page.read_text("utf-8")):
            assert (CHECKOUT / word).is_file(), f"{name_of(page)}: {word}"


def test_messages_that_name_a_page_name_one_that_is_there() -> None:
    text = (CHECKOUT / "systemd" / "steps.sh").read_text("utf-8")
    named = re.findall(r"(\$here|\$\{here%/\*\})/([\w./-]+\.md)", text)
    assert named
    for folder, path in named:
        start = CHECKOUT / "systemd" if folder == "$here" else CHECKOUT
        assert (start / path).is_file(), path
    for file in CODE.rglob("*.py"):
        assert "README" not in file.read_text("utf-8"), f"{file.name}: an installed package has no README"
