"""Report a benchmark: the published table with this machine's rows, as text or JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import msgspec

from incv3d.tools.bench.engines import OURS, THEIRS, TITLES
from incv3d.tools.bench.machine_info import Device
from incv3d.tools.bench.measurements import Figures, Measurement, Unavailable, largest_difference
from incv3d.tools.bench.published_table import published_rows
from incv3d.tools.bench.tables import Table

RANDOM = "random weights: timing only"
AGREEMENT = 1e-3
"""Engines with the same weights whose scores differ by more do not agree."""
OPEN_WITH_A_RUN = ("lean", "litert", "litert-float32", "litert-int8", "onnxruntime")
"""incv3d's own engines, which run the network once when they open it."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a benchmark."""

    device: Device
    model: str
    random_weights: bool
    picture: str
    threads: int
    warmup_runs: int
    num_runs: int
    interleaved: bool
    """Whether all engines were open at the same time and took turns."""
    interrupted: bool
    measurements: tuple[Measurement, ...]
    unavailable: tuple[Unavailable, ...]

    @property
    def warmups(self) -> tuple[int, ...]:
        """Numbers of warm-up runs for which the table has rows."""
        return tuple(dict.fromkeys((self.warmup_runs, 0)))

    @property
    def weights(self) -> str:
        """The model's name, and a warning if its weights are random."""
        return f"{self.model} ({RANDOM})" if self.random_weights else self.model

    def reference(self) -> Measurement | None:
        """Return the engine to compare with: the plain Session, else the lean one."""
        return next((m for name in ("plain", "lean") for m in self.measurements if m.engine == name), None)


def published_table(report: Report) -> Table:
    """Return the published rows, followed by this machine's."""
    table = Table(
        f"{report.weights}, {report.threads} threads, seconds",
        ("warm-up", "machine", "best", "worst", "average", "build", "import", "first run", "to result",
         "peak MB"),
    )  # fmt: skip
    for warmup_runs in report.warmups:
        for row in published_rows(warmup_runs):
            numbers = (row.best_s, row.worst_s, row.average_s, row.build_s)
            table.add(str(row.warmup_runs), row.machine, *(f"{n:.4f}" for n in numbers), "", "", "", "")
        for each in report.measurements:
            figures = each.figures(warmup_runs, report.num_runs)
            if figures:
                mark = "*" if figures.slowed_down else ""
                table.add(
                    str(warmup_runs),
                    f"here: {TITLES[each.engine]}{mark}",
                    *(f"{n:.4f}" for n in (figures.best_s, figures.worst_s, figures.average_s, each.build_s)),
                    *(f"{n:.4f}" for n in (each.import_s, each.first_run_s, each.first_result_s)),
                    f"{each.peak_mb:.0f}",
                )
    return table


def comparison_table(report: Report) -> Table:
    """Return a comparison of the engines by the medians of their runs."""
    table = Table(
        "side by side, medians",
        ("engine", "version", "ms", "ratio", "peak MB", "anonymous MB", "largest score difference"),
    )
    reference = report.reference()
    base = _median_s(report, reference) if reference else None
    for each in report.measurements:
        median = _median_s(report, each)
        same = each is reference
        difference = largest_difference(each.scores, reference.scores) if reference and not same else None
        table.add(
            TITLES[each.engine],
            each.version,
            f"{median * 1000:.1f}" if median else "",
            f"{median / base:.2f}" if median and base else "",
            f"{each.peak_mb:.0f}",
            f"{each.anonymous_mb:.0f}",
            "" if difference is None else f"{difference:.1e}",
        )
    return table


def notes(report: Report) -> Iterator[str]:
    """Yield the notes that explain the tables."""
    if report.random_weights:
        yield f"{RANDOM}; the scores mean nothing"
    yield f"image: {report.picture}"
    ours = [TITLES[m.engine] for m in report.measurements if not m.decodes_in_graph]
    if ours:
        yield f"runs include incv3d's own decoding and resizing: {', '.join(ours)}"
    ready = [TITLES[m.engine] for m in report.measurements if m.engine in OPEN_WITH_A_RUN]
    if ready:
        yield f"build includes a first run: {', '.join(ready)}"
    if len(report.measurements) > 1:
        yield (
            "the engines took turns, run by run"
            if report.interleaved
            else "NOT interleaved: too little memory for all engines at once, so they ran one after the other"
        )
    devices = sorted({device for m in report.measurements for device in m.devices})
    if devices:
        yield f"TensorFlow sees {', '.join(devices)}"
    yield from _marked(report)
    for each in report.unavailable:
        yield f"not measured: {TITLES[each.engine]}: {each.reason}"
    yield from _disagreements(report)
    yield from _verdict(report)
    if report.interrupted:
        yield "interrupted: incomplete results"


def _marked(report: Report) -> Iterator[str]:
    for warmup_runs in report.warmups:
        for each in report.measurements:
            figures = each.figures(warmup_runs, report.num_runs)
            if figures and figures.slowed_down:
                yield _slowed_down(each, figures)


def _slowed_down(each: Measurement, figures: Figures) -> str:
    without = figures.average_without_s
    rest = f"average of the others {without:.4f} s" if without is not None else "there are no others"
    return (
        f"* {TITLES[each.engine]}, {figures.warmup_runs} warm-up runs: {figures.slowed_down} of "
        f"{figures.runs} runs were made while the machine was throttled or hot; {rest}"
    )


def _disagreements(report: Report) -> Iterator[str]:
    reference = report.reference()
    if reference is None:
        return
    for each in report.measurements:
        if each.engine == "litert-int8":
            continue  # quantized weights: `incv3d model convert` reports the agreement
        difference = largest_difference(each.scores, reference.scores)
        if difference is None or difference > AGREEMENT:
            how = "in number" if difference is None else f"by up to {difference:.1e}"
            yield f"{TITLES[each.engine]} DOES NOT AGREE: its scores differ {how}; do not compare its times"


def _verdict(report: Report) -> Iterator[str]:
    """Say whether incv3d's best engine is faster than the other runtimes."""
    medians = {m.engine: median for m in report.measurements if (median := _median_s(report, m))}
    ours = {name: medians[name] for name in (*OURS, "litert") if name in medians}
    # Quantized weights are not the same weights.
    same = {name: median for name, median in ours.items() if name != "litert-int8"}
    theirs = {name: medians[name] for name in THEIRS if name in medians}
    if not same or not theirs:
        return
    best = min(same, key=lambda name: same[name])
    for name, median in sorted(theirs.items(), key=lambda item: item[1]):
        wins = same[best] <= median
        yield (
            f"{TITLES[best]} {'is at least as fast as' if wins else 'LOSES to'} {TITLES[name]}: "
            f"{same[best] * 1000:.1f} against {median * 1000:.1f} ms ({same[best] / median:.2f})"
        )


def _median_s(report: Report, each: Measurement) -> float | None:
    """Return the median of the warm runs, without slowed-down ones if there are others."""
    start = report.warmup_runs
    counted = slice(start, start + report.num_runs)
    pairs = list(zip(each.runs_s[counted], each.slowed_down[counted], strict=True))
    runs: Sequence[float] = [run for run, hot in pairs if not hot] or [run for run, _ in pairs]
    return statistics.median(runs) if runs else None


def as_builtins(report: Report) -> dict[str, object]:
    """Return everything but the score vectors as built-in types, with the figures and the published rows."""
    whole: dict[str, object] = msgspec.to_builtins(report)
    reference = report.reference()
    measured = []
    for each in report.measurements:
        one = {key: value for key, value in msgspec.to_builtins(each).items() if key != "scores"}
        one["figures"] = [
            figures for warmup in report.warmups if (figures := each.figures(warmup, report.num_runs))
        ]
        if reference and each is not reference:
            one["largest_score_difference"] = largest_difference(each.scores, reference.scores)
        measured.append(one)
    whole["measurements"] = measured
    whole["weights"] = RANDOM if report.random_weights else "trained"
    whole["published"] = [asdict(row) for warmup in report.warmups for row in published_rows(warmup)]
    whole["notes"] = list(notes(report))
    built: dict[str, object] = msgspec.to_builtins(whole)
    return built
