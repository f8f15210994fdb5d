"""The loop of the contract, word for word but for the address; it ends with the job's end."""
import json
import sys

import httpx

from arguments import headers, stopped, tell, url

with httpx.stream("GET", url, headers=headers) as r:
    for line in r.iter_lines():
        if line.startswith("data: "):
            tell(json.loads(line[6:]))
            if json.loads(line[6:])["status"] in ("completed", "failed"): break
stopped("stopped by the program")
