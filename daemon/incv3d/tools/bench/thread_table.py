"""Compare runs with one thread and with several, as Markdown that can be pasted into an issue.

The rows are those of the estimates for a Raspberry Pi 3 in daemon/docs/performance.md, measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from incv3d.tools.bench.engines import TITLES
from incv3d.tools.bench.measurements import Figures, Measurement
from incv3d.tools.bench.report import Report, notes
from incv3d.tools.bench.tables import Table


def thread_table(reports: Sequence[Report]) -> Table:
    """Return a row per engine, and a column per report, which differ in their number of threads."""
    columns = [f"{report.threads} thread{'s' if report.threads > 1 else ''}, ms" for report in reports]
    title = f"{reports[0].weights}, median (best to worst) of {reports[0].num_runs} runs"
    table = Table(title, ("network", "engine", *columns, "peak MB"))
    found = [{each.engine: each for each in report.measurements} for report in reports]
    engines = dict.fromkeys(engine for measured in found for engine in measured)
    for engine in engines:
        measured = [each.get(engine) for each in found]
        peak_mb = max(each.peak_mb for each in measured if each)
        cells = [_cell(each, report) for each, report in zip(measured, reports, strict=True)]
        version = next(each.version for each in measured if each)
        table.add(reports[0].model, f"{TITLES[engine]} {version}", *cells, f"{peak_mb:.0f}")
    return table


def _cell(measurement: Measurement | None, report: Report) -> str:
    figures = measurement.figures(report.warmup_runs, report.num_runs) if measurement else None
    if figures is None:
        return "not measured"
    return _in_words(figures)


def _in_words(figures: Figures) -> str:
    median, best, worst = (1000 * each for each in (figures.median_s, figures.best_s, figures.worst_s))
    mark = "*" if figures.slowed_down else ""
    return f"{median:.0f} ({best:.0f} to {worst:.0f}){mark}"


def thread_notes(reports: Sequence[Report]) -> Iterator[str]:
    """Yield the notes of all reports, each once."""
    yield "a run starts with the bytes of a JPEG; the estimates for a Raspberry Pi 3 do not include decoding"
    yield from dict.fromkeys(note for report in reports for note in notes(report))
