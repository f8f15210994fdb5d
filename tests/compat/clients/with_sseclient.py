import json

from sseclient import SSEClient

from arguments import stopped, tell, url, headers

messages = SSEClient(url, last_id=headers.get("Last-Event-ID"))
for msg in messages:
    tell(json.loads(msg.data), msg.id)
stopped("the stream ended")
