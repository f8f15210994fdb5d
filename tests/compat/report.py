"""Writes docs/compatibility.md from what a run saw, and from the reasons in `expected.toml`."""
import datetime

import expectations
from scenarios import AFTER_SECONDS, AWAY_SECONDS, MIDDLE, SILENCE_SECONDS

CLIENT_COLUMNS = {
    "live": "live job", "finished": "finished job", "end": "after the end", "reconnect": "reconnect",
    "deploy": "deploy", "silence": f"{SILENCE_SECONDS} s of silence",
}

HEAD = """# Compatibility

What client libraries and proxies do with the streams of `conch-api`, as they are, each used as its own documentation shows it. Written by `make compat` on {date} with Conch {version}: don't edit it. The programs are in [tests/compat/clients](../tests/compat/clients), what is expected of each cell, and why, in [expected.toml](../tests/compat/expected.toml); `make compat` fails when a cell becomes another one ([decision 0045](decisions/0045-compatibility-matrix.md)).

What each goes through, with a redis-server, a worker and real jobs of seven templates:

- **live job**: it watches before the job begins. *One by one*: every event once, in order, readable as JSON, none later than two seconds; beside it, how late the slowest was.
- **finished job**: it comes when all is over. *Whole*: every event once, in order.
- **after the end**: what it does once it has the end of that finished job and nobody closes it, within {after} seconds. Mare closes the stream, and answers a reconnect behind the end with 204.
- **reconnect**: the connection to Mare is cut behind the job's event {middle}. *By itself*: it comes back with the id of the last event, and has every event once. *Started again*: it ends there; called again with the last id it has the rest, every event once. Beside it, the longest time without an event.
- **deploy**: `conch-api` gets SIGTERM in mid-job, is away for {away} seconds and is started again; likewise.
- **{silence} s of silence**: the job waits; nothing but heartbeats, every four seconds. *Stays*: the connection outlives it.
"""

ADVICE = """## What follows from it

- **Leave `HEARTBEAT_SECONDS` below five.** httpx by its default timeout, and `launchdarkly-eventsource` on a Node whose HTTP agent has one, take five seconds without a byte for a dead connection ([decision 0046](decisions/0046-heartbeats-every-four-seconds.md)).
- **Close the stream when you have the end**, as the examples of the README do. A library that isn't stopped by a 204 otherwise asks again for as long as its program runs.
- **A library that doesn't reconnect** ends its loop with the stream, which is the job's end only if the last event's `status` was `completed`, `failed` or `cancelled`. Ask again with `Last-Event-ID`, or with `?after=`.
- **Behind a proxy, run two Mares.** While the only one restarts, most proxies answer 502 or 503, and any status but 200 ends an EventSource for good.
- **A proxy that asks for the name of its upstream** (nginx with an `upstream` block and no `proxy_set_header Host`) is refused with 421 by a Mare without authentication: hand the browser's `Host` on, or name it in `ALLOWED_HOSTS`.
"""


class Notes:
    """Numbered reasons, each once per table."""

    def __init__(self):
        self.texts: list[str] = []

    def mark(self, why: str) -> str:
        if not why:
            return ""
        if why not in self.texts:
            self.texts.append(why)
        return f" [{self.texts.index(why) + 1}]"

    def lines(self) -> list[str]:
        return [f"{number}. {text}" for number, text in enumerate(self.texts, 1)]


def page(rows: list, proxies: list, version: str) -> str:
    known = expectations.load()
    direct = [row for row in rows if not row.proxy]
    parts = [
        HEAD.format(
            date=datetime.date.today().isoformat(), version=version, after=AFTER_SECONDS, middle=MIDDLE, away=AWAY_SECONDS,
            silence=SILENCE_SECONDS,
        ),
        "## Client libraries\n",
        *client_table(direct, known),
        "\n## Proxies\n",
        "Each as a plain process with the configuration that is named and its defaults, between Mare and an EventSource of Chromium, and curl with `--compressed`. Both ask for gzip. Where curl's way differs from what it does without a proxy, the cell says so.\n",
        *proxy_table(rows, proxies, known),
        "",
        ADVICE,
    ]
    return "\n".join(parts)


def client_table(rows: list, known: dict) -> list[str]:
    notes = Notes()
    lines = table_head(["client", "version", *CLIENT_COLUMNS.values()])
    for row in rows:
        said = [shown(row, column, known, notes) for column in CLIENT_COLUMNS]
        lines.append(table_line([row.client_name, row.client.version, *said]))
    return [*lines, "", *notes.lines()]


def proxy_table(rows: list, proxies: list, known: dict) -> list[str]:
    notes = Notes()
    lines = table_head(["proxy", "version", "configuration", *CLIENT_COLUMNS.values()])
    direct_curl = next(row for row in rows if not row.proxy and row.client.name == "curl")
    for proxy in proxies:
        behind = {row.client.name: row for row in rows if row.proxy == proxy.name}
        said = []
        for column in CLIENT_COLUMNS:
            text = shown(behind["EventSource"], column, known, notes)
            if behind["curl"].cells[column].words != direct_curl.cells[column].words:
                text += f"; curl: {shown(behind['curl'], column, known, notes)}"
            said.append(text)
        lines.append(table_line([proxy.name, proxy.version(), proxy.note, *said]))
    return [*lines, "", *notes.lines()]


def shown(row, column: str, known: dict, notes: Notes) -> str:
    cell = row.cells[column]
    wanted, why = expectations.expected(known, row, column)
    # Errors are for the run's own report; figures belong here.
    figure = f" ({cell.detail})" if cell.detail and column in ("live", "reconnect", "deploy") else ""
    if cell.words != wanted:
        return f"**{cell.words}**{figure} (expected: {wanted})"
    return f"{cell.words}{figure}{notes.mark(why)}"


def table_head(columns: list[str]) -> list[str]:
    return [table_line(columns), table_line(["---"] * len(columns))]


def table_line(cells: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
