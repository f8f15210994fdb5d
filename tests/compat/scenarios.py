"""What each client goes through, directly and behind each proxy; all of them at once, on one job."""
import asyncio
import time
from dataclasses import dataclass, field

import judge
from browser import Browser
from clients import Client, Run
from recorder import Recorder, Request
from system import System

# The connection is cut behind this event, and the deploy begins once all have it.
MIDDLE = 5
# How long an API is away in a deploy: longer than the longest `retry:` (two seconds), which some double, and
# than a proxy's own retries (haproxy: three seconds), so that each meets a refusal.
AWAY_SECONDS = 5.5
# Longer than any client's usual time-out of 5, 10 or 30 s.
SILENCE_SECONDS = 35
# How long a client may take to do what it does after the end: to come back for its 204, say. Some double
# the longest `retry:`.
AFTER_SECONDS = 8
# Until everybody watches. Some of them are browsers, some machines are slow.
GATHER_SECONDS = 90


@dataclass
class Row:
    """A client, directly or behind a proxy."""

    client: Client
    recorder: Recorder
    # The second Mare's, where a proxy has one.
    spare: Recorder | None = None
    proxy: str = ""
    port: int = 0
    cells: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.proxy} + {self.client.name}" if self.proxy else self.client_name

    @property
    def client_name(self) -> str:
        return f"{self.client.name} ({self.client.language})"

    def url(self, job_id: str) -> str:
        return f"http://127.0.0.1:{self.port or self.recorder.port}/v1/triton/jobs/{job_id}/subscribe"

    def requests(self) -> list[Request]:
        """What Mare was asked by this client, in order."""
        seen = self.recorder.requests + (self.spare.requests if self.spare else [])
        return sorted((r for r in seen if r.watches and self.client.agent in r.agent), key=lambda r: r.at)


class Scenarios:
    def __init__(self, system: System, browser: Browser, rows: list[Row]):
        self.system, self.browser, self.rows = system, browser, rows
        self.recorders = {id(r): r for row in rows for r in (row.recorder, row.spare) if r}.values()
        self.a_finished_job = ""

    async def all(self, only: set[str]) -> None:
        for name, scenario in (
            ("live", self.live), ("finished", self.finished), ("reconnect", self.reconnect),
            ("deploy", self.deploy), ("silence", self.silence),
        ):
            if name in only:
                began = time.monotonic()
                await scenario()
                print(f"  {name}: {time.monotonic() - began:.0f} s", flush=True)

    def _begin(self, job_id: str, rows: list[Row] | None = None) -> dict[str, Run]:
        for recorder in self.recorders:
            recorder.forget()
        rows = self.rows if rows is None else rows
        return {row.name: Run(row.name, row.client, row.url(job_id), self.browser) for row in rows}

    async def _gathered(self, runs: dict[str, Run], count: int = 1, patience: float = GATHER_SECONDS) -> None:
        """Waits until each has so many events or has given up; the verdict on the rest is the judge's."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.system.check()
            if all(len(run.seen.events) >= count or run.stopped.is_set() for run in runs.values()):
                return
            await asyncio.sleep(0.05)

    async def _happened(self, job_id: str, count: int) -> None:
        while len(await self.system.events(job_id)) < count:
            self.system.check()
            await asyncio.sleep(0.1)

    async def _over(self, runs: dict[str, Run]) -> float:
        """Lets each do what it does after the end, then ends those that go on; returns since when."""
        since = time.time()
        stopped = [asyncio.create_task(run.stopped.wait()) for run in runs.values()]
        await asyncio.wait(stopped, timeout=AFTER_SECONDS)
        for task in stopped:
            task.cancel()
        self.goes_on = {name for name, run in runs.items() if not run.stopped.is_set()}
        for run in runs.values():
            await run.end()
        return since

    async def _judged(self, scenario: str, job_id: str, runs: dict[str, Run], began: float, until: float = 0) -> None:
        events = await self.system.events(job_id)
        for row in self.rows:
            if not (run := runs.get(row.name)):
                continue
            row.cells |= judge.cells(scenario, events, run, row, (began, until), row.name in self.goes_on)

    async def live(self) -> None:
        """All watch before the job begins."""
        job = await self.system.held_job()
        runs = self._begin(job.id)
        # A library that dispatches an empty message never gets that far.
        await self._gathered(runs, patience=30)
        began = time.time()
        await job.let_go()
        await self.system.ended(job.id)
        self.a_finished_job = job.id
        await self._over(runs)
        await self._judged("live", job.id, runs, began)

    async def finished(self) -> None:
        if not self.a_finished_job:
            job = await self.system.held_job()
            await job.let_go()
            await self.system.ended(job.id)
            self.a_finished_job = job.id
        runs = self._begin(self.a_finished_job)
        await self._gathered(runs, len(await self.system.events(self.a_finished_job)), 30)
        await self._over(runs)
        await self._judged("finished", self.a_finished_job, runs, 0)

    async def reconnect(self) -> None:
        """Each connection to Mare is cut once, in mid-job."""
        job = await self.system.held_job()
        runs = self._begin(job.id)
        for recorder in self.recorders:
            recorder.cut_after = MIDDLE
        await self._gathered(runs, patience=30)
        began = time.time()
        await job.let_go()
        await self.system.ended(job.id)
        await self._gathered(runs, len(await self.system.events(job.id)), AFTER_SECONDS)
        await self._over(runs)
        await self._judged("reconnect", job.id, runs, began)

    async def deploy(self) -> None:
        """The API is drained, stays away for a while, and is started again, in mid-job."""
        job = await self.system.held_job()
        runs = self._begin(job.id)
        await self._gathered(runs, patience=30)
        await job.let_go()
        await self._happened(job.id, MIDDLE)
        for recorder in self.recorders:
            if recorder.target == self.system.apis[0]:
                await recorder.stop_listening()
        began = time.time()
        code = await self.system.stop_api()
        if code != 0:
            raise RuntimeError(f"SIGTERM ended the API with {code}")
        await asyncio.sleep(max(0.0, began + AWAY_SECONDS - time.time()))
        await self.system.start_api()
        for recorder in self.recorders:
            if not recorder.server:
                await recorder.listen()
        await self.system.ended(job.id)
        await self._gathered(runs, len(await self.system.events(job.id)), 15)
        await self._over(runs)
        await self._judged("deploy", job.id, runs, began)

    async def silence(self) -> None:
        """The job waits in the queue: nothing but heartbeats."""
        job = await self.system.held_job()
        runs = self._begin(job.id, self.rows)
        await self._gathered(runs, patience=30)
        began = time.time()
        await asyncio.sleep(SILENCE_SECONDS)
        # What is after the silence isn't of interest, but for what it cost.
        until = time.time()
        await job.let_go()
        await self.system.ended(job.id)
        await self._gathered(runs, len(await self.system.events(job.id)), 15)
        await self._over(runs)
        await self._judged("silence", job.id, runs, began, until)
