"""Print tables in a terminal or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(slots=True)
class Table:
    """A table of text cells."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        assert len(cells) == len(self.headings)
        self.rows.append(cells)

    def markdown(self) -> str:
        """Return the table as GitHub Markdown."""
        lines = [self.headings, tuple("---" for _ in self.headings), *self.rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def show(self, console: Console) -> None:
        """Print the table to `console`."""
        table = RichTable(title=self.title, title_justify="left", box=None, pad_edge=False)
        for heading in self.headings:
            words = heading in ("machine", "engine", "version", "part", "figure")
            table.add_column(heading, justify="left" if words else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
