import json

from ld_eventsource import SSEClient
from ld_eventsource.config import ConnectStrategy

from arguments import headers, stopped, tell, url

client = SSEClient(connect=ConnectStrategy.http(url, headers=headers))
for event in client.events:
    tell(json.loads(event.data), event.last_event_id)
stopped("the stream ended")
