"""Tables that can be shown to people or written as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(slots=True)
class Table:
    """A title, column headings, and rows of text."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """One more row."""
        assert len(cells) == len(self.headings)
        self.rows.append(cells)

    def markdown(self) -> str:
        """As GitHub's Markdown."""
        lines = [self.headings, tuple("---" for _ in self.headings), *self.rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def show(self, console: Console) -> None:
        """For people."""
        table = RichTable(title=self.title, title_justify="left", box=None, pad_edge=False)
        for heading in self.headings:
            words = heading in ("machine", "engine", "version", "part", "figure")
            table.add_column(heading, justify="left" if words else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
