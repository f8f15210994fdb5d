"""What a user of httpx-sse has, by its documentation. Prints the type of each message's event, and at the end
that it ended.
"""
import sys

import httpx
from httpx_sse import connect_sse

with httpx.Client(trust_env=False) as client:
    with connect_sse(client, "GET", sys.argv[1]) as event_source:
        for sse in event_source.iter_sse():
            print(sse.json()["event_type"])
print("ended")
