"""What a user of Python has. The loop is contract §6 word for word; the address alone is an argument.

Prints the last line's data.
"""
import json
import sys

import httpx

base, job_id = sys.argv[1:]
_stream = httpx.stream


def stream(method, url):
    # The contract's loop sets no timeout; httpx's default of five seconds between two bytes stays.
    return _stream(method, url.replace("http://localhost:16000", base), trust_env=False)


httpx.stream = stream

# --- contract
with httpx.stream("GET", f"http://localhost:16000/v1/triton/jobs/{job_id}/subscribe") as r:
    for line in r.iter_lines():
        if line.startswith("data: "):
            if json.loads(line[6:])["status"] in ("completed", "failed"): break
# --- end

print(line[6:])
