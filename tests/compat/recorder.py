"""A TCP relay before a Mare: passes every byte on as it is, and notes requests and their answers.

It can cut each client's stream once behind a given event, and stop listening while its Mare is away.
"""
import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field

WAIT = -1
EVENT_ID = re.compile(rb"^id: [0-9a-zA-Z]+-(\d+)\r?\n", re.MULTILINE)


@dataclass
class Request:
    """What a client asked, and the status that it was answered."""

    at: float
    line: str
    headers: dict
    status: int = 0
    answer: dict = field(default_factory=dict)

    @property
    def agent(self) -> str:
        return self.headers.get("user-agent", "")

    @property
    def watches(self) -> bool:
        return self.line.startswith("GET ") and "/subscribe" in self.line

    @property
    def resumes(self) -> bool:
        return bool(self.headers.get("last-event-id")) or "after=" in self.line or "last_event_id=" in self.line


class Recorder:
    def __init__(self, target: int):
        self.target, self.port, self.server = target, 0, None
        self.requests: list[Request] = []
        self.cut_after: int | None = None
        self.cut: dict[str, float] = {}
        self.connections: set[asyncio.Task] = set()

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Refuses new connections; those that there are go on."""
        self.server.close()
        self.server = None

    async def close(self) -> None:
        if self.server:
            await self.stop_listening()
        for task in list(self.connections):
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    def forget(self) -> None:
        self.requests, self.cut, self.cut_after = [], {}, None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.connections.add(task)
        upstream = None
        try:
            inner, upstream = await asyncio.open_connection("127.0.0.1", self.target, limit=2**20)
            asked: list[Request] = []
            requests = asyncio.create_task(self._requests(reader, upstream, asked))
            try:
                await self._answers(inner, writer, asked)
            finally:
                requests.cancel()
        except (OSError, asyncio.CancelledError):
            # The other end learns it by the close below.
            pass
        finally:
            self.connections.discard(task)
            for end in (writer, upstream):
                if end:
                    with contextlib.suppress(OSError):
                        end.close()

    async def _requests(self, reader, upstream, asked: list[Request]) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                # Clients of streams send no bodies.
                head = await reader.readuntil(b"\r\n\r\n")
                line, *rest = head.decode("latin-1").split("\r\n")
                request = Request(time.time(), line, fields(rest))
                asked.append(request)
                self.requests.append(request)
                upstream.write(head)
                await upstream.drain()
        with contextlib.suppress(OSError, RuntimeError):
            # The client has hung up: to Mare that is the end of the stream.
            upstream.close()

    async def _answers(self, inner, writer, asked: list[Request]) -> None:
        held = b""
        while chunk := await inner.read(65536):
            if chunk.startswith(b"HTTP/1.") and asked:
                note(chunk, asked)
            held += chunk
            place = self._place_to_cut(held, asked)
            if place == WAIT:
                continue
            if place is not None:
                self.cut[asked[-1].agent] = time.time()
                writer.write(held[:place])
                await writer.drain()
                return
            writer.write(held)
            await writer.drain()
            held = b""
        writer.write(held)
        await writer.drain()

    def _place_to_cut(self, data: bytes, asked: list[Request]) -> int | None:
        """Where the event ends behind which this client is to be cut, if it is in here; WAIT if it has only begun."""
        if self.cut_after is None or not asked or asked[-1].agent in self.cut:
            return None
        for found in EVENT_ID.finditer(data):
            if int(found[1]) == self.cut_after:
                end = data.find(b"\n\n", found.end())
                return WAIT if end < 0 else end + 2
        return None


def fields(lines: list[str]) -> dict:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def note(chunk: bytes, asked: list[Request]) -> None:
    """Gives the first request without an answer its status and headers."""
    head = chunk.split(b"\r\n\r\n", 1)[0].decode("latin-1")
    line, *rest = head.split("\r\n")
    for request in asked:
        if not request.status:
            request.status = int(line.split(" ")[1])
            request.answer = fields(rest)
            return
