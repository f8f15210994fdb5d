"""What each cell is expected to be: `expected.toml`, and how a run is held against it."""
import tomllib
from pathlib import Path

FILE = Path(__file__).resolve().parent / "expected.toml"


def load() -> dict:
    return tomllib.loads(FILE.read_text())


def expected(known: dict, row, column: str) -> tuple[str, str]:
    """The words that are expected in this cell, and why, where they aren't the best ones."""
    for entries in (known["rows"].get(row.name), known["clients"].get(row.client_name)):
        if entries and column in entries:
            return entries[column]["is"], entries[column].get("why", "")
    return known["best"][column], ""


def judge(rows: list, whole: bool) -> list[str]:
    """A line for each cell that isn't what is expected of it."""
    known = load()
    wrong = []
    for row in rows:
        for column, cell in row.cells.items():
            wanted, _ = expected(known, row, column)
            if cell.words != wanted:
                detail = f" ({cell.detail})" if cell.detail else ""
                wrong.append(f"{row.name}, {column}: {cell.words!r}{detail}, expected {wanted!r}")
    if whole:
        for kind, names in (("rows", {row.name for row in rows}), ("clients", {row.client_name for row in rows})):
            wrong += [f"{name}: expected.toml names it, but nobody tried it" for name in known[kind] if name not in names]
    return wrong
