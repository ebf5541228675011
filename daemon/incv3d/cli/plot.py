"""``incv3d plot``: plot latency logs."""

from __future__ import annotations

from pathlib import Path

import click

from incv3d.cli.log_options import log_paths, since_option


@click.command()
@click.argument("paths", metavar="[LATENCY.log]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("latency.png"), show_default=True,
    help="File to write: .png, .svg or .pdf.",
)  # fmt: skip
@since_option
def plot(paths: tuple[Path, ...], output: Path, since_s: float) -> None:
    """Plot latency logs (default: this machine's), including rotated files.

    Several logs are compared in one chart. Needs matplotlib; prints how to install it if it is missing.
    """
    from incv3d.latency.chart_file import check_chart_path

    check_chart_path(output, "-o")
    from incv3d.latency.log_plot import plot as draw
    from incv3d.latency.log_reader import LogError, read_history

    histories = [read_history(path, since_s) for path in log_paths(paths)]
    for history in histories:
        if not history.entries:
            raise LogError(f"{history.path}: no lines to plot")
        if history.damaged:
            click.echo(f"{history.path}: {history.damaged} damaged lines skipped", err=True)
    draw(histories, output)
    click.echo(f"{output}: {sum(len(history.entries) for history in histories)} lines plotted")
