"""``incv3d teach list``, ``report`` and ``revert``: what was taught, and going back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option, json_option, key_option
from incv3d.cli.output import print_table
from incv3d.cli.teach_options import open_teaching

if TYPE_CHECKING:
    from incv3d.models.taught.model import HeadFacts

MOST_LISTED = 8
"""Classes of a model that `list` names, so that a line can be read."""


@click.command("list")
@config_option
@json_option
def list_taught(config_path: str | None, as_json: bool) -> None:
    """List the taught models, and the teaching sets that have no model yet."""
    teaching = open_teaching(config_path, changes=False)
    models = {each.name: each.facts for each in teaching.taught.models()}
    own = {name: sum(teaching.pictures(name).counts().values()) for name in teaching.names()}
    if as_json:
        import msgspec

        rows = [
            {"name": name, "own_pictures": count, "facts": models.get(name)} for name, count in own.items()
        ]
        click.echo(msgspec.json.encode(rows))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "BASE", "CLASSES", "ACCURACY", "TAUGHT", "OWN PICTURES"):
        table.add_column(heading, no_wrap=heading != "CLASSES")
    for name, count in own.items():
        table.add_row(name, *_row(models.get(name)), str(count))
    print_table(table)
    for damage in teaching.taught.read_errors().values():
        click.echo(f"damaged: {damage}", err=True)
    click.echo(f"store: {teaching.taught.root}")


def _row(facts: HeadFacts | None) -> tuple[str, str, str, str]:
    if facts is None:
        return "", "", "", "not yet"
    counts = list(zip(facts.classes, facts.counts, strict=True))
    more = f", and {len(counts) - MOST_LISTED} more" if len(counts) > MOST_LISTED else ""
    accuracy = "not known" if facts.accuracy is None else f"{facts.accuracy:.1%}"
    return (
        facts.base,
        ", ".join(f"{name} {count}" for name, count in counts[:MOST_LISTED]) + more,
        accuracy,
        facts.taught_at,
    )


@click.command()
@click.argument("name", required=False)
@config_option
@json_option
@click.option(
    "--plot", "chart", metavar="FILE", type=click.Path(path_type=Path),
    help="Draw what pictures were taken for: .png, .svg or .pdf.",
)  # fmt: skip
def report(name: str | None, config_path: str | None, as_json: bool, chart: Path | None) -> None:
    """Print how good the taught model NAME is on pictures that it has not seen, and what would help it."""
    from incv3d.teaching.report import read_report
    from incv3d.teaching.report_text import report_lines

    if chart:
        from incv3d.latency.chart_file import check_chart_path

        check_chart_path(chart, "--plot")
    teaching = open_teaching(config_path, changes=False)
    model = teaching.taught.get(teaching.find_name(name, "name it"))
    data = model.report()
    found = read_report(data)
    if chart:
        from incv3d.teaching.matrix_plot import plot_matrix

        plot_matrix(found, chart)
    if as_json:
        click.echo(data)
    else:
        click.echo("\n".join(report_lines(found)))


@click.command()
@click.argument("name")
@config_option
@key_option
def revert(name: str, config_path: str | None, key: str | None) -> None:
    """Return to what the taught model NAME was before; a second revert comes back to what it is now."""
    from incv3d.cli.teach_use import tell_if_it_serves

    teaching = open_teaching(config_path)
    model = teaching.taught.revert(name)
    click.echo(f"{name} is again what was taught on {model.facts.taught_at}")
    tell_if_it_serves(teaching.loaded, name, key)
