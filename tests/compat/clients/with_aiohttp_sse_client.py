import asyncio
import json

from aiohttp_sse_client import client as sse_client

from arguments import headers, stopped, tell, url


async def main():
    async with sse_client.EventSource(url, headers=headers) as event_source:
        try:
            async for event in event_source:
                tell(json.loads(event.data), event.last_event_id)
        except ConnectionError as e:
            stopped(f"{type(e).__name__}: {e}")


asyncio.run(main())
