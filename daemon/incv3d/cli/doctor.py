"""``incv3d doctor``: find problems of this machine and say how to fix them."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option, json_option
from incv3d.cli.output import leave

if TYPE_CHECKING:
    from incv3d.tools.doctor import Finding

COLORS = {"ok": "green", "note": "blue", "warning": "yellow", "problem": "red"}
INDENT = " " * 28


@click.command()
@config_option
@json_option
def doctor(config_path: str | None, as_json: bool) -> None:
    """Check this machine and this installation; report problems and how to fix them.

    Changes nothing. Exit status 1 if there is a problem, 0 if there are only warnings and notes.
    """
    from incv3d.tools.doctor import Host, count, run_all_checks

    started = time.monotonic()
    findings: list[Finding] = []
    try:
        for finding in run_all_checks(Host(), config_path):
            findings.append(finding)
            if not as_json:
                _print(finding)
    except KeyboardInterrupt:
        leave(130)
    took_s = time.monotonic() - started
    problems, warnings = count(findings, "problem"), count(findings, "warning")
    if as_json:
        import msgspec

        listed = [asdict(finding) for finding in findings]
        answer = {"problems": problems, "warnings": warnings, "took_s": round(took_s, 3), "findings": listed}
        click.echo(msgspec.json.encode(answer))
    else:
        counted = f"{_several(problems, 'problem')}, {_several(warnings, 'warning')}"
        click.echo(f"{counted}; checked in {took_s:.1f} s")
    # A check that hangs must not keep this process alive.
    leave(1 if problems else 0)


def _print(finding: Finding) -> None:
    status = click.style(f"{finding.status:8}", fg=COLORS[finding.status])
    click.echo(f"{status} {finding.name:18} {_wrapped(finding.what)}")
    if finding.fix:
        click.echo(f"{INDENT}fix: {_wrapped(finding.fix)}")


def _wrapped(text: str) -> str:
    """Wrap `text` to the width left of the terminal; leave it alone if the output is piped."""
    if not sys.stdout.isatty():
        return text
    width = max(30, shutil.get_terminal_size().columns - len(INDENT))
    return f"\n{INDENT}".join(textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False))


def _several(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
