"""Chromium without a window, showing `clients/page.html`, which watches what it is told to and says what it saw.

Never steered by a driver: what the page can't do, no user's page can.
"""
import asyncio
import json
import shutil
import tempfile
from pathlib import Path

from system import Process, until

HERE = Path(__file__).resolve().parent
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".json": "application/json"}


class Browser:
    def __init__(self, directory: Path):
        self.directory, self.server, self.process, self.profile = directory, None, None, None
        self.steps: asyncio.Queue = asyncio.Queue()
        # Of each row, who is told what its page said.
        self.hears: dict = {}
        self.ready = False
        self.asking: set = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.profile = tempfile.mkdtemp(dir=self.directory)
        command = ["chromium", *FLAGS, f"--user-data-dir={self.profile}", f"http://127.0.0.1:{port}/"]
        self.process = Process("chromium", command, self.directory / "chromium.log")
        await until("Chromium shows the page", lambda: self.ready, 60)

    async def stop(self) -> None:
        if self.process:
            await self.process.stop(2)
        if self.server:
            self.server.close()
        for task in list(self.asking):
            task.cancel()
        await asyncio.gather(*self.asking, return_exceptions=True)
        if self.profile:
            shutil.rmtree(self.profile, ignore_errors=True)

    def watch(self, row: str, library: str, url: str, last: str | None, hear) -> None:
        """Has the page watch; `hear` is called with each thing that it says of this row."""
        self.hears[row] = hear
        self.steps.put_nowait({"row": row, "library": library, "url": url, "last": last})

    def end(self, row: str) -> None:
        self.hears.pop(row, None)
        self.steps.put_nowait({"stop": row})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.asking.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                _, path, _ = head.split(" ", 2)
                status, kind, answer = await self._answer(path, body)
                writer.write(f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(answer)}\r\n\r\n".encode() + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The browser has hung up, or is to end.
            pass
        finally:
            self.asking.discard(task)
            writer.close()

    async def _answer(self, path: str, body: bytes) -> tuple[str, str, bytes]:
        if path == "/next":
            return "200 OK", KINDS[".json"], json.dumps(await self.steps.get()).encode()
        if path == "/said":
            said = json.loads(body)
            if said["row"] == "page":
                self.ready = True
            elif hear := self.hears.get(said["row"]):
                hear(said)
            return "200 OK", "text/plain", b""
        file = HERE / "clients/page.html" if path == "/" else HERE / "node_modules" / path.removeprefix("/modules/")
        if not file.suffix:
            # The imports of some packages leave it to a bundler.
            file = file.with_suffix(".js")
        if not file.is_file():
            return "404 Not Found", "text/plain", b""
        return "200 OK", KINDS.get(file.suffix, "text/plain"), file.read_bytes()
