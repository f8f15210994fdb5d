"""`make compat`: tries client libraries and proxies against the programs in target/debug, holds what they do
against `expected.toml`, and writes docs/compatibility.md.

Ends with 1 when a cell is not what is expected of it, and names the cell.
"""
import argparse
import asyncio
import re
import signal
import sys
import tempfile
from pathlib import Path

import expectations
import report
from browser import Browser
from clients import every_client
from proxies import EVERY_PROXY, Running
from recorder import Recorder
from scenarios import Row, Scenarios
from system import System, version

# Through a proxy the two ends of the scale are enough: a strict one, and one that shows each line.
BEHIND_PROXIES = ("EventSource", "curl")
ALL = ("live", "finished", "reconnect", "deploy", "silence")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression for the names of rows")
    parser.add_argument("--scenarios", default=",".join(ALL), help="some of " + ", ".join(ALL))
    parser.add_argument("--write", type=Path, help="where the page goes; only whole runs write it")
    options = parser.parse_args()
    only = set(options.scenarios.split(","))
    # What was started ends with this program, also when it is told to end.
    task = asyncio.current_task()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    whole = not options.only and only == set(ALL)
    with tempfile.TemporaryDirectory(prefix="conch-compat-", ignore_cleanup_errors=True) as directory:
        rows, proxies = await try_all(Path(directory), options.only, only)
    wrong = expectations.judge(rows, whole)
    if options.write and whole:
        options.write.write_text(report.page(rows, proxies, version()))
        print(f"wrote {options.write}")
    for line in wrong:
        print(line, file=sys.stderr)
    count = sum(len(row.cells) for row in rows)
    print(f"{count} cells, {len(wrong)} of them not as expected")
    return 1 if wrong else 0


async def try_all(directory: Path, pattern: str, only: set[str]) -> tuple[list[Row], list]:
    system, browser = System(directory), Browser(directory)
    recorders: list[Recorder] = []
    running: list[Running] = []

    async def recorder(api: int) -> Recorder:
        made = Recorder(system.apis[api])
        await made.listen()
        recorders.append(made)
        return made

    try:
        await system.start()
        clients = every_client()
        rows = [Row(client, await recorder(0)) for client in clients]
        rows = [row for row in rows if re.search(pattern, row.name)]
        for proxy in EVERY_PROXY:
            behind = [c for c in clients if c.name in BEHIND_PROXIES and re.search(pattern, f"{proxy.name} + {c.name}")]
            if behind:
                first, second = await recorder(0), await recorder(1)
                place = Running(proxy, directory / "proxies" / str(len(running)))
                running.append(place)
                await place.start(first.port, second.port)
                rows += [Row(client, first, second, proxy.name, place.port) for client in behind]
        await browser.start()
        print(f"{len(rows)} rows", flush=True)
        await Scenarios(system, browser, rows).all(only)
        return rows, [place.proxy for place in running]
    finally:
        await browser.stop()
        for place in running:
            await place.stop()
        for each in recorders:
            await each.close()
        await system.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
