"""Plot a benchmark: the run times in order, and their distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from incv3d.tools.bench.engines import TITLES
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.published_table import PI3, PI3_AVERAGE_S
from incv3d.tools.bench.report import RANDOM, Report


def plot(report: Report, path: Path) -> None:
    """Plot `report` to the file at `path`.

    :raises BenchError: if it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (runs, spread) = pyplot.subplots(
        1, 2, figsize=(12, 5), sharey=True, width_ratios=(3, 2), layout="constrained"
    )
    colors = pyplot.rcParams["axes.prop_cycle"].by_key()["color"]
    marked_label: str | None = "throttled or hot"
    for measurement, color in zip(report.measurements, colors, strict=False):
        ms = [run_s * 1000 for run_s in measurement.runs_s]
        runs.plot(range(1, len(ms) + 1), ms, ".-", color=color, linewidth=1, label=TITLES[measurement.engine])
        hot = [(i + 1, ms[i]) for i, marked in enumerate(measurement.slowed_down) if marked]
        if hot:
            runs.plot(*zip(*hot, strict=True), "x", color="red", label=marked_label)
            marked_label = None  # only one entry in the legend
    _decorate_runs(runs, report)
    _draw_spread(spread, report, colors)
    title = f"{report.model}: from JPEG to scores, {report.threads} threads, {report.device.lines()[0]}"
    if report.random_weights:
        title += f"\n{RANDOM.upper()}"
    figure.suptitle(title, fontsize=10)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        pyplot.close(figure)


def _decorate_runs(axes: Any, report: Report) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.axhline(PI3_AVERAGE_S * 1000, color="black", linestyle="--", linewidth=1)
    axes.annotate(
        f"{PI3}, published (2016): {PI3_AVERAGE_S * 1000:.0f} ms",
        (1, PI3_AVERAGE_S * 1000), xytext=(0, 4), textcoords="offset points", fontsize=8,
    )  # fmt: skip
    if report.warmup_runs:
        axes.axvspan(0.5, report.warmup_runs + 0.5, color="0.93", zorder=0)
        axes.annotate("warm-up", (0.75, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="0.4")
    axes.set_xlim(left=0.5)
    axes.set_xlabel("run")
    axes.set_ylabel("milliseconds")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", which="both", color="0.9", linewidth=0.5)
    axes.legend(loc="best", fontsize=8)


def _draw_spread(axes: Any, report: Report, colors: list[str]) -> None:
    """Draw a box of the quartiles for each engine, and each warm run as a point beside it."""
    names = []
    for place, measurement in enumerate(report.measurements):
        ms = [run_s * 1000 for run_s in measurement.runs_s[report.warmup_runs :]]
        names.append(TITLES[measurement.engine].replace(" ", "\n"))
        if ms:
            axes.boxplot(
                [ms], positions=[place], widths=0.35, showfliers=False,
                medianprops={"color": colors[place % len(colors)], "linewidth": 2},
            )  # fmt: skip
            # Spread horizontally in the order of the runs, so that points do not overlap.
            across = [place + 0.32 + 0.2 * i / len(ms) for i in range(len(ms))]
            axes.plot(across, ms, ".", color=colors[place % len(colors)], markersize=4, alpha=0.7)
    axes.axhline(PI3_AVERAGE_S * 1000, color="black", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_xlim(-0.5, len(names) - 0.2)
    axes.set_title("warm runs: quartiles, and each run", fontsize=9)
    axes.grid(axis="y", which="both", color="0.9", linewidth=0.5)
