"""The exchange of models by the installer, cut off before each of its commands in turn."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

EXCHANGE = Path(__file__).resolve().parents[1] / "systemd/exchange"
COMMANDS = ("flock", "mkdir", "mktemp", "mv", "rm", "sync")
CUT = """
left=$1; shift
cut() { [ "$left" -gt 0 ] || kill -KILL $$; left=$((left - 1)); command "$@"; }
"""
"""Runs a command of the script, or kills the script where the commands that it may run are used up."""
OLD = {"colours": "old", "others": "untouched"}
MADE = {"colours": "made", "new": "made"}


class Store:
    """A store with the models `old`, and `made` waiting to be exchanged."""

    def __init__(self, folder: Path, old: dict[str, str], made: dict[str, str]) -> None:
        self._models = folder / "store" / "models"
        for root, models in ((self._models, old), (self._models / ".installing/models", made)):
            root.mkdir(parents=True)
            (root / ".lock").touch()
            for name, content in models.items():
                (root / name / "prepared").mkdir(parents=True)
                (root / name / "graph.pb").write_text(content)
                (root / name / "prepared/weights").write_text(content)

    def exchange(self, what: str, commands: int = 1000) -> bool:
        """Run it, killed after so many commands; returns whether it came to its end."""
        functions = "".join(f'{name}() {{ cut {name} "$@"; }}\n' for name in COMMANDS)
        done = subprocess.run(
            ["sh", "-c", f"{CUT}{functions}. {EXCHANGE}", "sh", str(commands), what, self._models.parent],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode in (0, -9), done.stderr
        return done.returncode == 0

    def models(self) -> dict[str, str]:
        """What is in the store: each model is whole."""
        found = {}
        for model in self._models.glob("[!.]*"):
            contents = {path.read_text() for path in (model / "graph.pb", model / "prepared/weights")}
            (found[model.name],) = contents
        return found

    def leftovers(self) -> list[str]:
        """What the daemon would not remove by itself."""
        kept = (".lock", ".unfinished-")
        return [path.name for path in self._models.glob(".*") if not path.name.startswith(kept)]


def test_cut_off_anywhere_it_is_taken_back_even_if_that_is_cut_off_too(tmp_path: Path) -> None:
    for cut in itertools.count():
        for second_cut in itertools.count():
            store = Store(tmp_path / f"{cut}-{second_cut}", OLD, MADE)
            ended = store.exchange("in", cut)
            taken_back = store.exchange("back", second_cut)
            assert store.exchange("back")
            assert store.models() == OLD, (cut, second_cut)
            assert store.leftovers() == []
            if taken_back:
                break
        assert second_cut > 3
        if ended:
            break
    assert cut > 3


def test_what_was_replaced_is_dropped_and_never_comes_back(tmp_path: Path) -> None:
    for cut in itertools.count():
        store = Store(tmp_path / str(cut), OLD, MADE)
        assert store.exchange("in")
        dropped = store.exchange("drop", cut)
        assert store.exchange("drop") and store.exchange("back")
        assert store.models() == OLD | MADE, cut
        assert store.leftovers() == []
        if dropped:
            break
    assert cut > 3


def test_where_nothing_was_exchanged_nothing_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path, OLD, {"colours": "made"})
    assert store.exchange("back") and store.models() == OLD
    for what in ("in", "back", "drop"):
        assert store.exchange(what)
        assert store.models() == OLD


def test_a_model_that_is_a_link_is_a_link_again(tmp_path: Path) -> None:
    store = Store(tmp_path, OLD, MADE)
    model = tmp_path / "store/models/colours"
    model.rename(tmp_path / "elsewhere")
    model.symlink_to("../../elsewhere")
    assert store.exchange("in") and store.models() == OLD | MADE
    assert store.exchange("back") and store.models() == OLD
    assert model.is_symlink()
