"""The system under test as processes: a private redis-server, one conch-worker, one or two conch-apis.

They see no setting but those named here. Intervals are Conch's own defaults, except `STREAM_RETRY_SECONDS`.
"""
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
# Servers of Debian lie where not every user looks.
os.environ["PATH"] += ":/usr/sbin"
# Of one template; a job has seven.
PACE_MS = 1500
# Jobs that keep the one worker busy while a job under test has to wait: for almost three minutes.
HOLDS = 16


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def version() -> str:
    done = subprocess.run([PROGRAMS / "conch-api", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


class Process:
    """A child in a group of its own, ended with its children; its output goes to a file."""

    def __init__(self, name: str, command: list, log: Path, env: dict | None = None, cwd: Path | None = None):
        self.name, self.log = name, log
        with log.open("ab") as out:
            self.child = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=env, cwd=cwd, start_new_session=True,
            )

    def check(self) -> None:
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.log.read_text()[-2000:]}")

    async def stop(self, patience: float = 20) -> int:
        """SIGTERM; SIGKILL to what is left of the group after `patience` seconds."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self.child.wait, patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        return self.child.wait()


async def until(what: str, check, patience: float = 30) -> None:
    """Looks again until `check()` holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not check():
        if loop.time() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s in vain: {what}")
        await asyncio.sleep(0.05)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def request(method: str, url: str) -> tuple[int, dict]:
    asked = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as refusal:
        return refusal.code, {}


def ready(port: int) -> bool:
    try:
        return request("GET", f"http://127.0.0.1:{port}/readyz")[0] == 200
    except OSError:
        return False


class System:
    """What a run talks to. `apis` are the ports of its edges, the first of which deploys restart."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.redis_port, self.triton_port = free_port(), free_port()
        self.apis = [free_port(), free_port()]
        self.processes: dict[str, Process] = {}
        self.client_id = ""

    def _start(self, name: str, command: list, **env: str) -> None:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
        log = self.directory / f"{name}.log"
        self.processes[name] = Process(name, command, log, env=kept | env, cwd=self.directory)

    def _start_api(self, index: int) -> None:
        self._start(
            f"api-{index}", [PROGRAMS / "conch-api"],
            MARE_API_ADDR=f"127.0.0.1:{self.apis[index]}",
            TRITON_BASE_URL=f"http://127.0.0.1:{self.triton_port}",
            REDIS_URL=f"redis://127.0.0.1:{self.redis_port}/0",
            STREAM_RETRY_SECONDS="1",
        )

    async def start(self) -> None:
        redis = ["redis-server", "--port", self.redis_port, "--bind", "127.0.0.1", "--save", "", "--dir", self.directory]
        self._start("redis", redis)
        await until("redis-server listens", lambda: answers(self.redis_port))
        self._start(
            "worker", [PROGRAMS / "conch-worker"],
            TRITON_API_ADDR=f"127.0.0.1:{self.triton_port}",
            REDIS_URL=f"redis://127.0.0.1:{self.redis_port}/0",
            WORKER_CONCURRENCY="1", BUILTIN_PACE_MS=str(PACE_MS),
        )
        for index in range(len(self.apis)):
            self._start_api(index)
        for port in (self.triton_port, *self.apis):
            await until("conch is ready", lambda: ready(port))
        await until("there is a demo client", self._find_client)

    def _find_client(self) -> bool:
        clients = request("GET", f"http://127.0.0.1:{self.triton_port}/clients/")[1].get("clients") or []
        self.client_id = clients[0]["id"] if clients else ""
        return bool(clients)

    def check(self) -> None:
        for process in self.processes.values():
            process.check()

    def url(self, path: str) -> str:
        # The second edge: no deploy touches it.
        return f"http://127.0.0.1:{self.apis[1]}/v1/triton{path}"

    async def _submit(self) -> str:
        status, job = await asyncio.to_thread(request, "POST", self.url(f"/clients/{self.client_id}/generate-templates"))
        if status != 202:
            raise RuntimeError(f"a submission was answered {status}")
        return job["job_id"]

    async def held_job(self) -> "HeldJob":
        """A job that stands in the queue until it is let go, so that watchers can gather."""
        holds = [await self._submit() for _ in range(HOLDS)]
        return HeldJob(self, await self._submit(), holds)

    async def events(self, job_id: str) -> list[dict]:
        status, answer = await asyncio.to_thread(request, "GET", self.url(f"/jobs/{job_id}/events"))
        if status != 200:
            raise RuntimeError(f"the history of {job_id} was answered {status}")
        return answer["events"]

    async def ended(self, job_id: str, patience: float = 60) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while True:
            status, job = await asyncio.to_thread(request, "GET", self.url(f"/jobs/{job_id}"))
            if job.get("status") == "completed":
                return
            if loop.time() > deadline:
                raise TimeoutError(f"{job_id} has not ended after {patience:.0f} s: {status} {job}")
            await asyncio.sleep(0.2)

    async def stop_api(self) -> int:
        return await self.processes["api-0"].stop()

    async def start_api(self) -> None:
        self._start_api(0)
        await until("the restarted API is ready", lambda: ready(self.apis[0]))

    async def stop(self) -> None:
        for name in reversed(self.processes):
            await self.processes[name].stop()


class HeldJob:
    """A job and those that stand before it in the queue."""

    def __init__(self, system: System, job_id: str, holds: list[str]):
        self.system, self.id, self.holds = system, job_id, holds

    async def let_go(self) -> None:
        """Cancels all that is before it."""
        for hold in reversed(self.holds):
            await asyncio.to_thread(request, "DELETE", self.system.url(f"/jobs/{hold}"))
