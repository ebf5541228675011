"""``incv3d bench``: the published table beside this machine, and where the time goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option, json_option, session_options

if TYPE_CHECKING:
    from incv3d.config.schema import Config
    from incv3d.models.store import ModelStore, StoredModel
    from incv3d.tools.bench.benchmark import Request
    from incv3d.tools.bench.scenarios import Scenario
    from incv3d.tools.bench.tables import Table
    from incv3d.tools.bench.worker_protocol import Engine

    Progress = Callable[[str, int], None]

SCENARIOS = ("single-stream", "offline", "server")


@click.command()
@config_option
@session_options
@click.option(
    "--num-runs", "--num_runs", type=click.IntRange(1, 100_000), default=25, show_default=True,
    help="Runs that count.",
)  # fmt: skip
@click.option(
    "--warmup-runs", "--warmup_runs", type=click.IntRange(0, 10_000), default=10, show_default=True,
    help="Runs before those.",
)  # fmt: skip
@click.option(
    "--image", "--image_file", metavar="FILE", help="A JPEG; else the model's own, or a bundled one."
)
@click.option(
    "--engines", "engine_names", metavar="NAMES", default="plain,lean", show_default=True,
    help="plain, lean, litert-float32, litert-int8, or all: they take turns, run by run.",
)  # fmt: skip
@click.option(
    "--against", "peer_names", metavar="NAMES",
    help="Also onnxruntime, openvino, opencv, or all, on the same weights; says what to install.",
)  # fmt: skip
@click.option("--breakdown", "take_apart", is_flag=True, help="Where the time of a run goes, instead.")
@click.option("--scenario", type=click.Choice(SCENARIOS), help="Steady figures in MLPerf's manner, instead.")
@click.option(
    "--min-duration", "min_duration_s", type=click.FloatRange(0, min_open=True), default=60.0,
    show_default=True, help="Seconds; with --scenario.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Pictures a second; scenario server.")
@click.option(
    "--latency-bound-ms", "bound_ms", type=click.FloatRange(0, min_open=True),
    help="Scenario server: what the 99th percentile must keep; without --rate, the highest rate is sought.",
)  # fmt: skip
@click.option("--random-weights", is_flag=True, help="Inception-v3 without its weights: timing only.")
@click.option("--plot", "plot_path", metavar="FILE.png", help="Draw the runs; needs matplotlib.")
@click.option("--markdown", is_flag=True, help="Markdown instead of a table for the terminal.")
@json_option
def bench(
    config_path: str | None,
    model_name: str | None,
    threads: int | None,
    num_runs: int,
    warmup_runs: int,
    image: str | None,
    engine_names: str,
    peer_names: str | None,
    take_apart: bool,
    scenario: Scenario | None,
    min_duration_s: float,
    rate: float | None,
    bound_ms: float | None,
    random_weights: bool,
    plot_path: str | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Time the model as the published benchmark did, beside its table.

    A run goes from the bytes of a JPEG to scores, through Session.run alone where the graph decodes. Every
    engine has a process of its own.
    """
    _check_together(take_apart, scenario, rate, bound_ms, plot_path, peer_names, markdown and as_json)
    from incv3d.config.loading import load_config
    from incv3d.pipeline.loader import spec_of
    from incv3d.tools.bench.benchmark import Request
    from incv3d.tools.bench.engines import OURS, THEIRS, choose
    from incv3d.tools.bench.input_image import choose_picture

    engines: list[Engine] = choose(engine_names, OURS, "--engines")
    if peer_names:
        engines += choose(peer_names, THEIRS, "--against")
    if plot_path:
        from incv3d.latency.chart_file import check_chart_path

        check_chart_path(Path(plot_path), "--plot")
    overrides = {"model.name": model_name, "session.threads": threads}
    config = load_config(config_path, overrides=overrides).config
    store, model = _find_model(config, random_weights)
    picture = choose_picture(image, model)
    if scenario:
        pictures = [picture] if image else []
        _scenario(config, store, model, random_weights, pictures, scenario, min_duration_s, rate, bound_ms,
                  warmup_runs, as_json)  # fmt: skip
        return
    request = Request(
        model=model,
        store=store,
        random_weights=random_weights,
        picture=picture,
        engines=engines,
        threads=config.session.threads,
        cache_filters=spec_of(config, model).cache_filters,
        warmup_runs=warmup_runs,
        num_runs=num_runs,
    )
    if take_apart:
        _breakdown(request, markdown, as_json)
    else:
        _benchmark(request, plot_path, markdown, as_json)


def _check_together(
    take_apart: bool,
    scenario: str | None,
    rate: float | None,
    bound_ms: float | None,
    plot_path: str | None,
    peer_names: str | None,
    both_forms: bool,
) -> None:
    if take_apart and scenario:
        raise click.UsageError("--breakdown and --scenario are two different runs")
    if (plot_path or peer_names) and (take_apart or scenario):
        raise click.UsageError("--plot and --against go with the table, not with --breakdown or --scenario")
    if (rate or bound_ms) and scenario != "server":
        raise click.UsageError("--rate and --latency-bound-ms go with --scenario server")
    if scenario == "server" and not (rate or bound_ms):
        raise click.UsageError("--scenario server needs --rate, or --latency-bound-ms to seek the rate")
    if both_forms:
        raise click.UsageError("--json or --markdown, not both")


def _find_model(config: Config, random_weights: bool) -> tuple[ModelStore, StoredModel]:
    from incv3d.config.paths import state_directory
    from incv3d.models.store import ModelStore
    from incv3d.pipeline.loader import find_model, open_store

    state = state_directory(os.environ)
    if not random_weights:
        store = open_store(config, state)
        return store, find_model(config, store, _say).model
    from incv3d.tools.bench.random_weights import FOLDER, ensure_random_model

    store = ModelStore(state / FOLDER)
    return store, ensure_random_model(store, _say)


def _benchmark(request: Request, plot_path: str | None, markdown: bool, as_json: bool) -> None:
    from incv3d.tools.bench.benchmark import benchmark
    from incv3d.tools.bench.engines import TITLES
    from incv3d.tools.bench.published_table import published_lines
    from incv3d.tools.bench.report import as_builtins, comparison_table, notes, published_table

    with _progress(request.warmup_runs + request.num_runs) as progress:
        report = benchmark(request, _say, progress)
    if as_json:
        _print_json(as_builtins(report))
    else:
        for each in report.measurements:
            runs = each.runs_s[report.warmup_runs :]
            if runs and not markdown:
                click.echo(f"{TITLES[each.engine]}, {report.weights}:")
                for line in published_lines(runs, each.build_s, report.warmup_runs):
                    click.echo(line)
                click.echo()
        for line in report.device.lines():
            click.echo(f"{line}  " if markdown else line)
        tables = [published_table(report)]
        if len(report.measurements) > 1:
            tables.append(comparison_table(report))
        _show(tables, list(notes(report)), markdown)
    if plot_path:
        from incv3d.tools.bench.plot import plot

        plot(report, Path(plot_path))
        _say(f"drawn to {plot_path}")
    if report.interrupted:
        sys.exit(130)


def _breakdown(request: Request, markdown: bool, as_json: bool) -> None:
    from incv3d.tools.bench.benchmark import breakdown
    from incv3d.tools.bench.breakdown import answers, breakdown_table
    from incv3d.tools.bench.engines import TITLES
    from incv3d.tools.bench.machine_info import look
    from incv3d.tools.bench.report import RANDOM

    with _progress(request.num_runs) as progress:
        found, unavailable = breakdown(request, _say, progress)
    device = look()
    said = [*answers(found), f"picture: {request.picture}"]
    said += [f"not measured: {TITLES[each.engine]}: {each.reason}" for each in unavailable]
    if request.random_weights:
        said.append(RANDOM)
    if as_json:
        _print_json(
            {"device": device, "model": request.model.name, "breakdown": found, "unavailable": unavailable,
             "notes": said}
        )  # fmt: skip
        return
    click.echo("\n".join(device.lines()))
    weights = f" ({RANDOM})" if request.random_weights else ""
    title = f"{request.model.name}{weights}: where the time of a run goes"
    _show([breakdown_table(found, title)], said, markdown)


def _scenario(
    config: Config,
    store: ModelStore,
    model: StoredModel,
    random_weights: bool,
    pictures: list[Path],
    scenario: Scenario,
    min_duration_s: float,
    rate: float | None,
    bound_ms: float | None,
    warmup_runs: int,
    as_json: bool,
) -> None:
    from incv3d.images.demo import demo_folder
    from incv3d.pipeline.loader import load_model
    from incv3d.sources.image_files import find_images
    from incv3d.tools.bench.machine_info import look
    from incv3d.tools.bench.report import RANDOM
    from incv3d.tools.bench.scenario_runner import ScenarioRunner, outcome_lines

    classifier = load_model(config, model, store, warmup_runs, _say).classifier
    read = [path.read_bytes() for path in pictures or find_images(str(demo_folder()))]
    course = ScenarioRunner(classifier, read, min_duration_s)
    try:
        outcome = course.run(scenario, rate, bound_ms, lambda trial: _say("\n".join(outcome_lines(trial))))
    finally:
        classifier.close()
    facts = classifier.session.facts
    engine = f"{facts.engine} {facts.version}, {facts.threads} threads"
    if as_json:
        _print_json(
            {"device": look(), "model": model.name, "weights": RANDOM if random_weights else "trained",
             "engine": facts, "outcome": outcome}
        )  # fmt: skip
    else:
        click.echo("\n".join(look().lines()))
        click.echo(f"{model.name}{f' ({RANDOM})' if random_weights else ''} on {engine}")
        click.echo("\n".join(outcome_lines(outcome)))
    if outcome.interrupted:
        sys.exit(130)


def _show(tables: list[Table], notes: list[str], markdown: bool) -> None:
    from rich.console import Console

    # Wider than most terminals: figures that are cut off are worth nothing.
    console = Console(width=200, soft_wrap=True)
    for table in tables:
        click.echo()
        if markdown:
            click.echo(table.markdown())
        else:
            table.show(console)
    click.echo()
    for note in notes:
        click.echo(f"- {note}")


def _print_json(found: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


@contextmanager
def _progress(runs: int) -> Iterator[Progress]:
    """On standard error: a bar an engine for a person, a line an engine for a log."""
    from incv3d.tools.bench.engines import TITLES

    if not sys.stderr.isatty():
        yield lambda engine, done: _say(f"{TITLES[engine]}: running") if done == 1 else None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(engine: str, done: int) -> None:
            if engine not in tasks:
                tasks[engine] = bars.add_task(TITLES[engine], total=runs)
            bars.update(tasks[engine], completed=done)

        yield told


def _say(line: str) -> None:
    click.echo(line, err=True)
