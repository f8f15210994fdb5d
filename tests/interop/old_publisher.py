"""A publisher that knows only the old contract: three events, naive timestamps, both channels, no numbers.

    old_publisher.py PORT JOB_ID CLIENT_ID

Reads what to publish from standard input, one word a line (started, data, completed, short-completed,
failed, restarted), and prints a line when Redis has taken it.
"""
import json
import sys
import warnings
from datetime import datetime

import redis

warnings.simplefilter("ignore", DeprecationWarning)  # utcnow() is what the old service calls

port, job_id, client_id = sys.argv[1:]
connection = redis.Redis(host="127.0.0.1", port=int(port))
started_at = datetime.utcnow()


def publish(event_type, **fields):
    event = {
        "event_type": event_type,
        "timestamp": datetime.utcnow().isoformat(),
        "job_id": job_id,
        "client_id": client_id,
        **fields,
    }
    message = json.dumps(event)
    connection.publish("triton:jobs:all", message)
    connection.publish(f"triton:jobs:{job_id}", message)
    print(event_type, flush=True)


for line in sys.stdin:
    match line.strip():
        case "started":
            publish(
                "job:started",
                status="running",
                started_at=started_at.isoformat(),
                # A field that nobody else knows, with a nested value and a letter beyond ASCII.
                host={"name": "prüf-3", "slots": [1, 2]},
            )
        case "data":
            # The service really sends this one, without a status.
            publish("data:generated", rows=42, source="claims")
        case "completed":
            now = datetime.utcnow()
            publish(
                "job:completed",
                status="completed",
                template_ids=["t-1", "t-2", "t-3"],
                template_count=3,
                generation_duration_ms=int((now - started_at).total_seconds() * 1000) + 1,
                completed_at=now.isoformat(),
            )
        case "short-completed":
            # The convenience form: neither a duration nor a time of the end.
            publish("job:completed", status="completed", template_ids=["t-1"], template_count=1)
        case "restarted":
            # Celery: another try after a failure, or the same task delivered twice.
            started_at = datetime.utcnow()
            publish("job:started", status="running", started_at=started_at.isoformat())
        case "failed":
            publish("job:failed", status="failed", error_message="the model gave no answer")
        case other:
            sys.exit(f"old_publisher.py does not know {other!r}")
