"""``incv3d bench``: compare this machine with the published table, and show where the time goes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.bench_output import print_json, show, show_progress
from incv3d.cli.options import config_option, json_option, session_options
from incv3d.cli.output import say

if TYPE_CHECKING:
    from incv3d.config.schema import Config
    from incv3d.models.store import ModelStore, StoredModel
    from incv3d.tools.bench.benchmark import Request
    from incv3d.tools.bench.scenarios import Scenario
    from incv3d.tools.bench.worker_protocol import Engine

SCENARIOS = ("single-stream", "offline", "server")
REPORT_ENGINES = "lean,litert-float32,litert-int8"
"""The plain Session needs more memory than a Raspberry Pi 3 has."""


@click.command()
@config_option
@session_options
@click.option(
    "--num-runs", "--num_runs", type=click.IntRange(1, 100_000), default=25, show_default=True,
    help="Runs to measure.",
)  # fmt: skip
@click.option(
    "--warmup-runs", "--warmup_runs", type=click.IntRange(0, 10_000), default=10, show_default=True,
    help="Runs before those, not measured.",
)  # fmt: skip
@click.option(
    "--image",
    "--image_file",
    metavar="FILE",
    help="JPEG to classify (default: the model's own, else a bundled one).",
)
@click.option(
    "--engines", "engine_names", metavar="NAMES",
    help="plain, lean, litert-float32, litert-int8, or all; they take turns, run by run. "
    "Default: plain,lean; without TensorFlow litert-float32,litert-int8; with --report all but plain.",
)  # fmt: skip
@click.option(
    "--against", "other_names", metavar="NAMES",
    help="Also measure onnxruntime, openvino, opencv, or all, with the same weights; says what to install.",
)  # fmt: skip
@click.option(
    "--breakdown", "with_breakdown", is_flag=True, help="Show where the time of a run goes instead."
)
@click.option(
    "--report", "as_report", is_flag=True,
    help="Measure with one thread and with all, and print Markdown to paste into an issue.",
)  # fmt: skip
@click.option("--scenario", type=click.Choice(SCENARIOS), help="Measure steady load as MLPerf does instead.")
@click.option(
    "--min-duration", "min_duration_s", type=click.FloatRange(0, min_open=True), default=60.0,
    show_default=True, help="Minimum seconds per measurement; with --scenario.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Images per second; with --scenario server."
)
@click.option(
    "--latency-bound-ms", "bound_ms", type=click.FloatRange(0, min_open=True),
    help="Bound for the 99th percentile; with --scenario server. Without --rate, seeks the highest rate.",
)  # fmt: skip
@click.option("--random-weights", is_flag=True, help="Use Inception-v3 with random weights, for timing only.")
@click.option("--plot", "plot_path", metavar="FILE.png", help="Plot the runs to this file; needs matplotlib.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@json_option
def bench(
    config_path: str | None,
    model_name: str | None,
    threads: int | None,
    num_runs: int,
    warmup_runs: int,
    image: str | None,
    engine_names: str | None,
    other_names: str | None,
    with_breakdown: bool,
    as_report: bool,
    scenario: Scenario | None,
    min_duration_s: float,
    rate: float | None,
    bound_ms: float | None,
    random_weights: bool,
    plot_path: str | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Time the model as the published benchmark did, and compare with its table.

    A run starts with the bytes of a JPEG and ends with scores; if the graph decodes JPEGs, that is one call
    of Session.run. Each engine runs in its own process.
    """
    _check_together(with_breakdown, scenario, rate, bound_ms, plot_path, other_names, markdown and as_json)
    if as_report and (with_breakdown or scenario or plot_path or as_json):
        raise click.UsageError("--report cannot be used with --breakdown, --scenario, --plot or --json")
    from incv3d.config.loading import load_config
    from incv3d.tools.bench.engines import default_engines
    from incv3d.tools.bench.input_image import choose_image

    engines = _choose_engines(
        engine_names or (REPORT_ENGINES if as_report else default_engines()), other_names
    )
    if plot_path:
        from incv3d.latency.chart_file import check_chart_path

        check_chart_path(Path(plot_path), "--plot")
    overrides = {"model.name": model_name, "session.threads": threads}
    config = load_config(config_path, overrides=overrides).config
    store, model = _find_model(config, random_weights)
    chosen = choose_image(image, model)
    request = _request(config, store, model, chosen, engines, random_weights, warmup_runs, num_runs)
    if scenario:
        load = Load(scenario, min_duration_s, rate, bound_ms)
        _scenario(config, request, load, [chosen] if image else [], as_json)
    elif with_breakdown:
        _breakdown(request, markdown, as_json)
    elif as_report:
        _report(request)
    else:
        _benchmark(request, plot_path, markdown, as_json)


@dataclass(frozen=True, slots=True)
class Load:
    """The options of ``--scenario``."""

    scenario: Scenario
    min_duration_s: float
    rate: float | None
    bound_ms: float | None


def _check_together(
    with_breakdown: bool,
    scenario: str | None,
    rate: float | None,
    bound_ms: float | None,
    plot_path: str | None,
    other_names: str | None,
    both_forms: bool,
) -> None:
    if with_breakdown and scenario:
        raise click.UsageError("--breakdown and --scenario cannot be used together")
    if (plot_path or other_names) and (with_breakdown or scenario):
        raise click.UsageError("--plot and --against cannot be used with --breakdown or --scenario")
    if (rate or bound_ms) and scenario != "server":
        raise click.UsageError("--rate and --latency-bound-ms need --scenario server")
    if scenario == "server" and not (rate or bound_ms):
        raise click.UsageError(
            "--scenario server needs --rate, or --latency-bound-ms to find the highest rate"
        )
    if both_forms:
        raise click.UsageError("--json and --markdown cannot be used together")


def _choose_engines(engine_names: str, other_names: str | None) -> list[Engine]:
    from incv3d.tools.bench.engines import OURS, THEIRS, choose

    others = choose(other_names, THEIRS, "--against") if other_names else []
    return choose(engine_names, OURS, "--engines") + others


def _request(
    config: Config,
    store: ModelStore,
    model: StoredModel,
    image: Path,
    engines: list[Engine],
    random_weights: bool,
    warmup_runs: int,
    num_runs: int,
) -> Request:
    from incv3d.pipeline.session_spec import spec_of
    from incv3d.tools.bench.benchmark import Request

    return Request(
        model=model,
        store=store,
        random_weights=random_weights,
        image=image,
        engines=engines,
        threads=config.session.threads,
        cache_filters=spec_of(config, model).cache_filters,
        warmup_runs=warmup_runs,
        num_runs=num_runs,
    )


def _find_model(config: Config, random_weights: bool) -> tuple[ModelStore, StoredModel]:
    from incv3d.config.paths import state_directory
    from incv3d.models.store import ModelStore
    from incv3d.pipeline.loader import find_model, open_store

    state = state_directory(os.environ)
    if not random_weights:
        store = open_store(config, state)
        return store, find_model(config, store, say).model
    from incv3d.tools.bench.random_weights import FOLDER, ensure_random_model

    store = ModelStore(state / FOLDER)
    return store, ensure_random_model(store, say)


def _benchmark(request: Request, plot_path: str | None, markdown: bool, as_json: bool) -> None:
    from incv3d.tools.bench.benchmark import benchmark
    from incv3d.tools.bench.engines import TITLES
    from incv3d.tools.bench.published_table import published_lines
    from incv3d.tools.bench.report import as_builtins, comparison_table, notes, published_table

    with show_progress(request.warmup_runs + request.num_runs) as progress:
        report = benchmark(request, say, progress)
    if as_json:
        print_json(as_builtins(report))
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
        show(tables, list(notes(report)), markdown)
    if plot_path:
        from incv3d.tools.bench.plot import plot

        plot(report, Path(plot_path))
        say(f"plotted to {plot_path}")
    if report.interrupted:
        sys.exit(130)


def _breakdown(request: Request, markdown: bool, as_json: bool) -> None:
    from incv3d.tools.bench.benchmark import breakdown
    from incv3d.tools.bench.breakdown import answers, breakdown_table
    from incv3d.tools.bench.engines import TITLES
    from incv3d.tools.bench.machine_info import describe_machine
    from incv3d.tools.bench.report import RANDOM

    with show_progress(request.num_runs) as progress:
        found, unavailable = breakdown(request, say, progress)
    device = describe_machine()
    said = [*answers(found), f"image: {request.image}"]
    said += [f"not measured: {TITLES[each.engine]}: {each.reason}" for each in unavailable]
    if request.random_weights:
        said.append(RANDOM)
    if as_json:
        print_json(
            {"device": device, "model": request.model.name, "breakdown": found, "unavailable": unavailable,
             "notes": said}
        )  # fmt: skip
        return
    click.echo("\n".join(device.lines()))
    weights = f" ({RANDOM})" if request.random_weights else ""
    title = f"{request.model.name}{weights}: where the time of a run goes"
    show([breakdown_table(found, title)], said, markdown)


def _report(request: Request) -> None:
    """Measure with one thread and with the configured number, and print both as Markdown."""
    from dataclasses import replace

    from incv3d.pipeline.session_spec import available_cores
    from incv3d.tools.bench.benchmark import benchmark
    from incv3d.tools.bench.thread_table import thread_notes, thread_table

    reports = []
    for threads in dict.fromkeys((1, request.threads or available_cores())):
        say(f"measuring with {threads} thread{'s' if threads > 1 else ''}")
        with show_progress(request.warmup_runs + request.num_runs) as progress:
            reports.append(benchmark(replace(request, threads=threads), say, progress))
        if reports[-1].interrupted:
            break
    for line in reports[0].device.lines():
        click.echo(f"{line}  ")
    show([thread_table(reports)], list(thread_notes(reports)), markdown=True)
    if reports[-1].interrupted:
        sys.exit(130)


def _scenario(config: Config, request: Request, load: Load, images: list[Path], as_json: bool) -> None:
    """Run a scenario and print its result.

    :param images: empty: the bundled photographs.
    """
    from incv3d.images.demo import demo_folder
    from incv3d.pipeline.loader import load_model
    from incv3d.sources.image_files import find_images
    from incv3d.tools.bench.machine_info import describe_machine
    from incv3d.tools.bench.report import RANDOM
    from incv3d.tools.bench.scenario_pipeline import ScenarioPipeline
    from incv3d.tools.bench.scenario_runner import ScenarioRunner, result_lines

    classifier = load_model(config, request.model, request.store, request.warmup_runs, say).classifier
    facts, at_once = classifier.session.facts, classifier.runs_at_once
    read = [path.read_bytes() for path in images or find_images(str(demo_folder()))]
    with ScenarioPipeline(classifier) as pipeline:
        result = ScenarioRunner(pipeline, read, load.min_duration_s).run(
            load.scenario, load.rate, load.bound_ms, lambda trial: say("\n".join(result_lines(trial)))
        )
    name, random_weights = request.model.name, request.random_weights
    if as_json:
        print_json(
            {"device": describe_machine(), "model": name, "weights": RANDOM if random_weights else "trained",
             "engine": facts, "runs_at_once": at_once, "outcome": result}
        )  # fmt: skip
    else:
        runs = f"up to {at_once} runs at once" if at_once > 1 else "one run at a time"
        engine = f"{facts.engine} {facts.version}, {facts.threads} threads, {runs}"
        click.echo("\n".join(describe_machine().lines()))
        click.echo(f"{name}{f' ({RANDOM})' if random_weights else ''} on {engine}")
        click.echo("\n".join(result_lines(result)))
    if result.interrupted:
        sys.exit(130)
