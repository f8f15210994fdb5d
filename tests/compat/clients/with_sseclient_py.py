import json

import requests
import sseclient

from arguments import headers, stopped, tell, url

response = requests.get(url, stream=True, headers={"Accept": "text/event-stream", **headers})
client = sseclient.SSEClient(response)
for event in client.events():
    tell(json.loads(event.data), event.id)
stopped("the stream ended")
