"""``incv3d teach FOLDER``: teach a model, print the report, and let the daemon use it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from incv3d.cli.output import say
from incv3d.cli.teach_options import open_teaching
from incv3d.cli.teach_progress import Progress
from incv3d.cli.teach_use import check_use, tell_if_it_serves, use
from incv3d.teaching import CALLER_TELLS

if TYPE_CHECKING:
    from incv3d.cli.teach_options import Teaching
    from incv3d.pipeline.loader import LoadedModel
    from incv3d.teaching.lesson import Outcome


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``incv3d teach``."""

    folder: str | None
    config_path: str | None
    key: str | None
    name: str | None
    base: str | None
    test_folder: str | None
    fit: Literal["stretch", "crop"] | None
    from_saved: bool
    dry_run: bool
    use: bool
    force: bool
    as_json: bool

    def words(self) -> list[str]:
        """Return the command line that asks for the same, without ``--use``."""
        named = {
            "--config": self.config_path,
            "--key": self.key,
            "--name": self.name,
            "--base": self.base,
            "--test": self.test_folder,
            "--fit": self.fit,
        }
        flags = {"--from-saved": self.from_saved, "--force": self.force, "--json": self.as_json}
        return [
            *(f"{option}={value}" for option, value in named.items() if value is not None),
            *(option for option, is_set in flags.items() if is_set),
            *(["--", self.folder] if self.folder is not None else []),
        ]


def give_lesson(options: Options) -> None:
    """Teach, report, and tell the daemon.

    :raises Incv3dError: it cannot be taught, is not kept, or the daemon does not take it over.
    """
    if options.use and options.dry_run:
        raise click.UsageError("--use and --dry-run exclude each other")
    to_use = check_use(options.config_path) if options.use else None
    if to_use and to_use.belongs_to_service:
        # The service's user teaches, and root changes the configuration.
        if status := to_use.run_as_owner(options.words()):
            sys.exit(status)
        teaching = open_teaching(options.config_path, changes=False)
        use(teaching.taught, to_use.loaded, _find_name(options, teaching), options.key)
        return
    teaching = open_teaching(options.config_path, options.folder, options.test_folder)
    name = _find_name(options, teaching)
    outcome = _teach(options, teaching, name)
    _print(name, outcome, options.as_json)
    if outcome.problem:
        say(f"incv3d: {name} was not kept: {outcome.problem}; to keep it all the same: --force")
        sys.exit(1)
    if to_use:
        use(teaching.taught, to_use.loaded, name, options.key)
    elif outcome.kept:
        is_told = CALLER_TELLS in os.environ or tell_if_it_serves(teaching.loaded, name, options.key)
        if not is_told:
            say(f"to use it: incv3d teach --name {name} --use")


def _find_name(options: Options, teaching: Teaching) -> str:
    """Return the name of the model to teach: the given one, or that of the folder."""
    if options.name is None and options.folder:
        name = Path(options.folder).resolve().name.lower()
        if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
            return name
        raise click.UsageError("the folder's name cannot be that of a model; add --name NAME")
    return teaching.find_name(options.name)


def _teach(options: Options, teaching: Teaching, name: str) -> Outcome:
    import msgspec

    from incv3d.teaching.lesson import Lesson, find_lesson_files, give
    from incv3d.teaching.lesson_settings import LessonSettings, read_settings, write_settings
    from incv3d.tools.conversion.tuning import become_idle

    teaching.taught.check_free(name)
    directory = teaching.taught.folder(name)
    before = read_settings(directory)
    now = LessonSettings(
        base=options.base or before.base,
        fit=options.fit or before.fit,
        folder=before.folder if options.folder is None else _full(options.folder),
        test=before.test if options.test_folder is None else _full(options.test_folder),
    )
    lesson = Lesson(
        name,
        Path(now.folder) if now.folder else None,
        now.fit,
        Path(now.test) if now.test else None,
        keep=not options.dry_run,
        force=options.force,
    )
    become_idle(0)
    with Progress(as_json=options.as_json) as shown:
        if options.from_saved:
            _add_saved(teaching, name, shown)
        find_lesson_files(lesson, teaching.pictures(name))  # what is wrong with them is said at once
        loaded = _load(teaching, now.base, shown)
        # The same network computes the features next time, even if another one is configured by then.
        now = msgspec.structs.replace(now, base=loaded.base)
        entry = teaching.models.get(loaded.base).entry
        outcome = give(lesson, loaded, entry, teaching.taught, shown.count)
    if outcome.kept:
        write_settings(directory, now)
    return outcome


def _full(folder: str) -> str:
    """Return the full path of a folder; an empty one stays empty."""
    return str(Path(folder).resolve()) if folder else ""


def _load(teaching: Teaching, base: str, shown: Progress) -> LoadedModel:
    """Open a Session of the base model, as the daemon would: its engine, its conversion."""
    import msgspec

    from incv3d.pipeline.loader import load_classifier, model_fetcher

    config = teaching.loaded.config
    base = base or config.model.name
    if taught := teaching.taught.find(base):
        base = taught.facts.base
    # Models of sources and regions do not matter here.
    config = msgspec.structs.replace(
        config,
        model=msgspec.structs.replace(config.model, name=base),
        source=type(config.source)(),
        sources=[],
    )
    fetch = model_fetcher(config, teaching.models, shown.say)
    return load_classifier(config, teaching.models, warmup_runs=0, progress=shown.say, fetch=fetch)


def _add_saved(teaching: Teaching, name: str, shown: Progress) -> None:
    """Add the pictures saved of events to the own pictures of the set."""
    from incv3d.config.loading import ConfigError
    from incv3d.teaching.saved_pictures import add_saved

    config = teaching.loaded.config
    if not config.saving.folder:
        raise ConfigError("--from-saved: no pictures of events are saved; set saving.folder")
    added = add_saved(
        Path(config.saving.folder),
        teaching.pictures(name),
        config.intake.max_pixels,
        lambda done, total: shown.count("saved pictures", done, total),
    )
    shown.say(f"{added} pictures added from {config.saving.folder}")


def _print(name: str, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        import msgspec

        told = {"name": name, "kept": outcome.kept, "problem": outcome.problem, "report": outcome.report}
        click.echo(msgspec.json.encode(told))
        return
    from incv3d.teaching.report_text import report_lines

    click.echo("\n".join(report_lines(outcome.report)))
    if outcome.kept:
        click.echo(f"\ntaught {name}")
