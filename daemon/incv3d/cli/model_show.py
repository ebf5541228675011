"""``incv3d model show`` and ``verify``: describe a model and check its files."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from incv3d.cli.model_options import configured_store, how_to_get
from incv3d.cli.options import config_option, json_option
from incv3d.cli.output import print_table

if TYPE_CHECKING:
    from incv3d.models.entry import ModelEntry
    from incv3d.models.labels import Labels
    from incv3d.models.store import ModelStore, StoredModel
    from incv3d.pipeline.engine_table import Table


@click.command()
@click.argument("name")
@config_option
@click.option("--labels", "with_labels", is_flag=True, help="List every output: index, synset and all names.")
@json_option
def show(name: str, config_path: str | None, with_labels: bool, as_json: bool) -> None:
    """Describe the model NAME, whether it is in the store or not."""
    from incv3d.cli.model_taught import show_taught
    from incv3d.models.taught.store import TaughtStore

    store = configured_store(config_path)
    if taught := TaughtStore(store.root).find(name):
        show_taught(taught, with_labels, as_json)
        return
    stored, entry = _find(store, name)
    if with_labels:
        _show_labels(_labels(name, stored), as_json)
    elif as_json:
        import msgspec

        click.echo(msgspec.json.encode({"name": name, "entry": entry, "stored": _stored_facts(stored)}))
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for fact, value in _facts(name, entry, stored).items():
            table.add_row(fact, value)
        print_table(table)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@config_option
def verify(names: tuple[str, ...], config_path: str | None) -> None:
    """Check that the files of the models NAME..., or of all, are unchanged."""
    from incv3d.models.taught.store import TaughtStore
    from incv3d.models.verify import verify_model, verify_taught

    store = configured_store(config_path)
    damaged = False
    taught = TaughtStore(store.root)
    for name in names or [*store.names(), *taught.names()]:
        findings = verify_taught(taught, name) if name in taught.names() else verify_model(store, name)
        damaged = damaged or bool(findings)
        for finding in findings:
            click.echo(f"{name}: {finding}", err=True)
        if not findings:
            click.echo(f"{name}: ok")
    if damaged:
        sys.exit(1)


def _find(store: ModelStore, name: str) -> tuple[StoredModel | None, ModelEntry]:
    from incv3d.models.catalog import load_catalog

    known = load_catalog().get(name)
    if known and name not in store.names():
        return None, known
    stored = store.get(name)
    return stored, stored.entry


def _facts(name: str, entry: ModelEntry, stored: StoredModel | None) -> dict[str, str]:
    scores = (
        f"one {entry.scores} score, for the second label"
        if entry.binary
        else f"{entry.outputs} {entry.scores}"
    )
    channels = entry.channel_order if entry.channels > 1 else "gray"
    facts = {
        "name": name,
        "network": {"graphdef": "frozen GraphDef", "tflite": "LiteRT flatbuffer", "onnx": "ONNX"}[
            entry.format
        ],
        "input": ", ".join(
            filter(None, (entry.input, f"{entry.width}x{entry.height}", channels, entry.layout))
        ),
        "pixels": entry.pixels_in_words,
        "caution": entry.caution,
        "picture": entry.picture_in_words,
        "output": ", ".join(filter(None, (entry.output, scores))),
        "golden": _golden(entry),
        "source": entry.source,
        "URL": entry.url,
        "file": _file(entry),
        "license": entry.licence,
    }
    if stored:
        told = _stored_facts(stored)
        prepared = "yes" if told["prepared"] else "no; prepared on first use"
        if find_spec("tensorflow") is None:
            prepared = "no; only TensorFlow uses that, which is not installed"
        if told["unpreparable"]:
            prepared = f"not possible: {told['unpreparable']}"
        facts |= {
            "stored": f"{told['directory']}, since {told['imported_at']}",
            "size": f"{told['size_bytes']} bytes",
            "SHA-256": told["sha256"],
            "prepared": prepared if entry.format == "graphdef" else "",
            "LiteRT": ", ".join(told["conversions"]),
            "timed": _timed(told["timed"]),
        }
    else:
        facts |= {"stored": how_to_get(name)}
    return {fact: value for fact, value in facts.items() if value}


def _timed(table: Table | None) -> str:
    """Return the times of its engines on this machine, the fastest first."""
    if table is None:
        return ""
    timings = sorted(table.timings, key=lambda each: each.run_ms)
    found = [f"{each.network} with {each.threads}: {each.run_ms:.1f}" for each in timings]
    found += [f"{title}: {failure}" for title, failure in table.failures.items()]
    return f"{table.measured_at}, median run in ms by threads: {'; '.join(found)}"


def _golden(entry: ModelEntry) -> str:
    golden = entry.golden
    if golden is None:
        return ""
    score = "" if golden.score is None else f" {golden.score:g} (within {golden.tolerance:g})"
    return f"{golden.image} is `{golden.label}`{score}"


def _file(entry: ModelEntry) -> str:
    """Return the published file's size and checksum."""
    size = f"{entry.archive_bytes} bytes" if entry.archive_bytes else ""
    return ", ".join(filter(None, (size, entry.archive_sha256 and f"SHA-256 {entry.archive_sha256}")))


def _stored_facts(stored: StoredModel | None) -> dict[str, Any]:
    from incv3d.models.conversions import converted_precisions
    from incv3d.models.prepare import find_preparation_failure, is_prepared
    from incv3d.pipeline.engine_table import read_table

    if stored is None:
        return {}
    manifest = stored.manifest
    refusal = find_preparation_failure(stored)
    return {
        "directory": str(stored.directory),
        "imported_at": manifest.imported_at,
        "size_bytes": manifest.size_bytes,
        "sha256": manifest.sha256,
        "labels_sha256": manifest.labels_sha256,
        "prepared": is_prepared(stored),
        "unpreparable": refusal.reason if refusal else "",
        "conversions": converted_precisions(stored.directory),
        "timed": read_table(stored),
    }


def _labels(name: str, stored: StoredModel | None) -> Labels:
    from incv3d.models.entry import ModelError
    from incv3d.models.labels import read_labels

    if stored is None:
        raise ModelError(f"{name}: labels unknown; {how_to_get(name)}")
    return read_labels(stored.labels, stored.entry.outputs)


def _show_labels(labels: Labels, as_json: bool) -> None:
    rows = [labels[index] for index in range(len(labels))]
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(rows))
        return
    for label in rows:
        click.echo(f"{label.index}\t{label.synset}\t{label.names}")
