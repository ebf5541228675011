"""What running two requests at once brings: daemons that do beside one that does not.

usage: .venv/bin/python tests/performance/overlapping.py [MODEL] [ROUNDS] [SECONDS]

Each round sends 640x480 JPEGs to each daemon, for SECONDS each: over one, two and eight connections in a
closed loop. Figures are medians over the rounds, ratios those of one round.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from door import load
from incv3d.tools.load.report import LoadReport
from measuring import daemon, median, table
from process_growth import peak_and_anonymous_mb

CLIENTS = (1, 2, 8)
WAYS = {
    "one after the other": "session: {overlap_runs: false}\n",
    "two at once": "",
    "two at once, a core each": "session: {threads: 1}\n",
}


def p50_ms(report: LoadReport) -> float:
    """The median round trip."""
    spread = report.outcomes["ok"].round_trip
    assert spread
    return spread["p50_ms"]


def both(values: Sequence[float], digits: int = 0) -> str:
    """One figure a way of running."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


def main(model: str = "auto", rounds: str = "7", seconds: str = "4") -> None:
    """Print the table."""
    with contextlib.ExitStack() as stack:
        daemons = [stack.enter_context(daemon(model, config)) for config in WAYS.values()]
        for each in daemons:
            load(each.door, max(CLIENTS), 2)
        found = [
            {clients: [load(each.door, clients, float(seconds)) for each in daemons] for clients in CLIENTS}
            for _ in range(int(rounds))
        ]
        memory = [peak_and_anonymous_mb(each.process.pid) for each in daemons]
    rows = []
    for clients in CLIENTS:
        name = f"{clients} client{'s' if clients > 1 else ''}"
        per_s = list(zip(*([report.ok_per_s for report in each[clients]] for each in found), strict=True))
        waits = list(zip(*([p50_ms(report) for report in each[clients]] for each in found), strict=True))
        for what, digits, values in (("labels a second", 1, per_s), ("median round trip, ms", 0, waits)):
            ratios = [median([b / a for a, b in zip(values[0], way, strict=True)]) for way in values[1:]]
            rows.append((f"{name}: {what}", both([median(way) for way in values], digits), both(ratios, 2)))
    for name, taken in zip(("peak memory, MB", "anonymous, MB"), zip(*memory, strict=True), strict=True):
        rows.append((name, both(taken), both([each / taken[0] for each in taken[1:]], 2)))
    table(f"{model}: {'; '.join(WAYS)}", rows, ("measured", "over the first"))


if __name__ == "__main__":
    main(*sys.argv[1:])
