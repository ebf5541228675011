"""Describe a taught model, for ``incv3d model show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from incv3d.cli.output import print_table

if TYPE_CHECKING:
    from incv3d.models.taught.model import HeadFacts, TaughtModel


def show_taught(model: TaughtModel, with_labels: bool, as_json: bool) -> None:
    """Print the facts of a taught model, or its labels: index, an empty synset and the name."""
    import msgspec

    from incv3d.models.taught.head import UNKNOWN

    if with_labels:
        rows = [
            {"index": number, "synset": "", "names": name}
            for number, name in enumerate((*model.facts.classes, UNKNOWN))
        ]
        if as_json:
            click.echo(msgspec.json.encode(rows))
        else:
            for row in rows:
                click.echo(f"{row['index']}\t{row['synset']}\t{row['names']}")
    elif as_json:
        told = {"name": model.name, "taught": model.facts, "before": model.before}
        click.echo(msgspec.json.encode(told))
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for fact, value in _facts(model).items():
            table.add_row(fact, value)
        print_table(table)


def _facts(model: TaughtModel) -> dict[str, str]:
    facts = model.facts
    pictures = zip(facts.classes, facts.counts, facts.groups, strict=True)
    told = {
        "name": model.name,
        "base": f"{facts.base} ({facts.precision}), SHA-256 {facts.base_sha256}",
        "picture": "stretched" if facts.fit == "stretch" else f"center crop, {facts.crop_fraction:g}",
        "classes": ", ".join(
            f"{name}: {count} pictures in {groups} groups" for name, count, groups in pictures
        ),
        "accuracy": _accuracy(facts),
        "golden": f"a picture of `{facts.golden.label}`" if facts.golden else "",
        "taught": facts.taught_at,
        "before": f"{model.before.taught_at}, {_accuracy(model.before)}" if model.before else "",
        "stored": str(model.directory),
        "head": f"SHA-256 {facts.head_sha256}",
    }
    return {fact: value for fact, value in told.items() if value}


def _accuracy(facts: HeadFacts) -> str:
    """Return the estimate of the accuracy, with its interval."""
    if facts.accuracy is None:
        return "not estimated"
    interval = ""
    if facts.low is not None and facts.high is not None:
        interval = f" ({facts.low * 100:.0f} to {facts.high * 100:.0f})"
    return f"{facts.accuracy * 100:.1f} %{interval} on pictures that were left out"
