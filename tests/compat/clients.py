"""The clients that are tried, and what runs one of them and notes what it saw."""
import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from browser import Browser

HERE = Path(__file__).resolve().parent
# The old `sseclient` and `sseclient-py` are both imported as `sseclient`, so one lies apart.
OLD_SSECLIENT = HERE.parents[1] / ".tools/compat-sseclient"


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def npm(name: str) -> str:
    return json.loads((HERE / "node_modules" / name / "package.json").read_text())["version"]


@dataclass(frozen=True)
class Client:
    """A library, or a program, as one of its users would use it."""

    name: str
    language: str
    # A program of `clients/`, or the name of a library of the page.
    program: str
    version: str
    # What identifies its requests behind a proxy.
    agent: str = ""

    @property
    def in_browser(self) -> bool:
        return self.language == "browser"

    def command(self, url: str, last: str | None) -> list[str]:
        program = str(HERE / "clients" / self.program)
        again = [last] if last else []
        if self.language == "Node":
            return ["node", "--no-warnings", "--experimental-eventsource", program, url, *again]
        if self.language == "Python":
            return [sys.executable, program, url, *again]
        resumed = ["-H", f"Last-Event-ID: {last}"] if last else []
        return ["curl", "--silent", "--show-error", "--no-buffer", "--compressed", *resumed, url]

    def environment(self) -> dict:
        if self.name == "sseclient":
            return {**os.environ, "PYTHONPATH": str(OLD_SSECLIENT)}
        return dict(os.environ)


def every_client() -> list[Client]:
    chromium = first_line("chromium", "--version").split()[1]
    curl = first_line("curl", "--version").split()[1]
    node = first_line("node", "-p", "`${process.versions.node}, undici ${process.versions.undici}`")

    def page(name: str, package: str, program: str) -> Client:
        return Client(name, "browser", program, f"{npm(package)}, Chromium {chromium}", "Chrome")

    def python(name: str, program: str) -> Client:
        return Client(name, "Python", program, importlib.metadata.version(name))

    old = next(importlib.metadata.distributions(name="sseclient", path=[str(OLD_SSECLIENT)])).version
    fetch = "@microsoft/fetch-event-source"
    return [
        Client("EventSource", "browser", "EventSource", f"Chromium {chromium}", "Chrome"),
        page("event-source-polyfill", "event-source-polyfill", "event-source-polyfill"),
        page(fetch, fetch, "fetch-event-source"),
        page(f"{fetch}, retrying", fetch, "fetch-event-source, retrying"),
        Client("Node's EventSource", "Node", "node-eventsource.mjs", node),
        *(
            Client(name, "Node", f"{name}.mjs", npm(name))
            for name in ("eventsource", "eventsource-client", "extended-eventsource", "launchdarkly-eventsource")
        ),
        python("httpx", "httpx_stream.py"),
        python("httpx-sse", "with_httpx_sse.py"),
        python("sseclient-py", "with_sseclient_py.py"),
        Client("sseclient", "Python", "with_sseclient.py", old),
        python("aiohttp-sse-client", "with_aiohttp_sse_client.py"),
        python("requests-sse", "with_requests_sse.py"),
        python("launchdarkly-eventsource", "with_ld_eventsource.py"),
        Client("curl", "shell", "", curl, "curl/"),
    ]


@dataclass
class Seen:
    """What a client saw of one stream, over all of its runs."""

    events: list[dict] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    # When each event came.
    times: list[float] = field(default_factory=list)
    # When each comment came, where the client shows them.
    comments: list[tuple[float, str]] = field(default_factory=list)
    # Why each run ended by itself.
    ends: list[str] = field(default_factory=list)

    @property
    def last_id(self) -> str | None:
        return next((id for id in reversed(self.ids) if id), None) or self._made_up_id()

    def _made_up_id(self) -> str | None:
        # Where the program looks at `data:` lines alone: the event says its place itself.
        last = self.events[-1] if self.events else {}
        return f"{last['epoch']}-{last['sequence']}" if "sequence" in last else None

    @property
    def has_end(self) -> bool:
        return bool(self.events) and self.events[-1].get("status") in ("completed", "failed", "cancelled")

    def hear(self, said: dict) -> None:
        if "stopped" in said:
            self.ends.append(said["stopped"])
        else:
            self.events.append(said["event"])
            self.ids.append(said["id"])
            self.times.append(said.get("at") or time.time())

    def hear_line(self, id: str | None, line: str) -> str | None:
        """A line of the stream itself, as curl shows it; returns the id that holds from here on."""
        if line.startswith("id: "):
            return line[4:]
        if line.startswith(":"):
            self.comments.append((time.time(), line))
        elif line.startswith("data: "):
            self.hear({"id": id, "event": json.loads(line[6:])})
        return id


class Run:
    """One client at one URL. Started again with its last id when it stops before the job's end, as its user
    would have to do."""

    MAX_RUNS = 20

    def __init__(self, row: str, client: Client, url: str, browser: Browser):
        self.row, self.client, self.url, self.browser = row, client, url, browser
        self.seen = Seen()
        self.runs = 0
        self.stopped = asyncio.Event()
        self.task = asyncio.create_task(self._runs())

    async def _runs(self) -> None:
        while self.runs < self.MAX_RUNS:
            self.runs += 1
            await (self._on_page() if self.client.in_browser else self._as_process())
            if self.seen.has_end:
                break
            await asyncio.sleep(1)
        self.stopped.set()

    async def _on_page(self) -> None:
        over = asyncio.Event()

        def hear(said: dict) -> None:
            self.seen.hear(said)
            if "stopped" in said:
                over.set()

        # A name of its own for each run: what an earlier one still says isn't this one's.
        row = f"{self.row} {self.runs}"
        self.browser.watch(row, self.client.program, self.url, self.seen.last_id, hear)
        try:
            await over.wait()
        finally:
            self.browser.end(row)

    async def _as_process(self) -> None:
        child = await asyncio.create_subprocess_exec(
            *self.client.command(self.url, self.seen.last_id), env=self.client.environment(), limit=2**22,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )
        errors = asyncio.create_task(child.stderr.read())
        said_why = len(self.seen.ends)
        id = None
        try:
            async for raw in child.stdout:
                if not raw.endswith(b"\n"):
                    # Half a line: the connection was cut in it.
                    continue
                line = raw.decode().rstrip("\r\n")
                if self.client.language == "shell":
                    id = self.seen.hear_line(id, line)
                elif line.startswith("{"):
                    self.seen.hear(json.loads(line))
            code = await child.wait()
            if len(self.seen.ends) == said_why:
                words = (await errors).decode(errors="replace").strip().splitlines()
                self.seen.ends.append("the stream ended" if code == 0 else words[-1] if words else f"exit code {code}")
        finally:
            errors.cancel()
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                await child.wait()

    async def end(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
