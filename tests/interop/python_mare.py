"""A stub of the Python Mare, with its habits: it listens on triton:jobs:all, caches the five fields that it
knows of a result, and reads all else over Triton's HTTP.

    python_mare.py PORT REDIS_PORT TRITON_URL

`GET /v1/triton/jobs/{id}` is all that it serves, and `/health`, once it listens.
"""
import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

port, redis_port, triton = sys.argv[1:]
connection = redis.Redis(host="127.0.0.1", port=int(redis_port))
FIELDS = ("job_id", "status", "template_ids", "template_count", "generation_duration_ms")


def key(job_id):
    return f"triton:job:result:{job_id}"


def listen(messages):
    for message in messages.listen():
        if message["type"] != "message":
            continue
        event = json.loads(message["data"])
        if event["event_type"] in ("job:completed", "job:failed"):
            result = {name: event.get(name) for name in FIELDS}
            connection.setex(key(event["job_id"]), 3600, json.dumps(result))
            print(event["job_id"], flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        sys.stderr.write(format % args + "\n")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = [part for part in self.path.split("/") if part]
        if parts == ["health"]:
            return self.answer(200, b"{}")
        cached = connection.get(key(parts[-1]))
        if cached:
            return self.answer(200, cached)
        try:
            with urllib.request.urlopen(f"{triton}/jobs/{parts[-1]}") as answer:
                job = json.load(answer)
        except urllib.error.HTTPError as error:
            return self.answer(error.code, b"{}")
        # What it reads of a job: exact names.
        shown = {name: job[name] for name in ("id", "client_id", "status", "error_message", "created_at")}
        self.answer(200, json.dumps(shown).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


messages = connection.pubsub()
messages.subscribe("triton:jobs:all")
threading.Thread(target=listen, args=(messages,), daemon=True).start()
Server(("127.0.0.1", int(port)), Handler).serve_forever()
