"""Draw what pictures of each class were taken for."""

from __future__ import annotations

from pathlib import Path

from incv3d.latency.chart_file import ChartError
from incv3d.teaching.report import Report


def plot_matrix(report: Report, path: Path) -> None:
    """Draw the confusion matrix of `report` to the file at `path`: shares of each class, and counts.

    :raises ChartError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{each.name} ({sum(row)})" for each, row in zip(report.classes, report.matrix, strict=True)]
    shares = [[count / max(1, sum(row)) for count in row] for row in report.matrix]
    size = 2.5 + 0.7 * len(names)
    figure, axes = pyplot.subplots(figsize=(size + 1, size), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(report.matrix):
        for x, count in enumerate(row):
            color = "white" if shares[y][x] > 0.5 else "black"
            axes.text(x, y, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(names)), [each.name for each in report.classes], rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("said")
    axes.set_ylabel("was (pictures left out)")
    axes.set_title("accuracy not known" if report.accuracy is None else f"accuracy {report.accuracy}")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise ChartError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        pyplot.close(figure)
