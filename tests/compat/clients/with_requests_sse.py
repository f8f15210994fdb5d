import json

import requests
from requests_sse import EventSource, InvalidContentTypeError, InvalidStatusCodeError

from arguments import headers, stopped, tell, url

with EventSource(url, timeout=30, headers=headers) as event_source:
    try:
        for event in event_source:
            tell(json.loads(event.data), event.last_event_id)
    except (InvalidStatusCodeError, InvalidContentTypeError, requests.RequestException) as e:
        stopped(f"{type(e).__name__}: {e}")
