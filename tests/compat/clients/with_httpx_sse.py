import httpx
from httpx_sse import connect_sse

from arguments import headers, stopped, tell, url

with httpx.Client() as client:
    with connect_sse(client, "GET", url, headers=headers) as event_source:
        for sse in event_source.iter_sse():
            tell(sse.json(), sse.id)
stopped("the stream ended")
