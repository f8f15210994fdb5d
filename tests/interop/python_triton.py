"""A stub of the Python Triton, with its habits: bare arrays, `id` without `job_id`, no template_ids in a
job, naive times, a redirect where the trailing slash is missing, 422 for an id that is no UUID,
`{client, value_propositions}`, 400 on a late cancel, 204 on a DELETE, and not one event published: its
Celery workers do that, played by old_publisher.py.

    python_triton.py PORT

Only the standard library. `/_control/…` is for the tests: it lets a job's state change and tells which
requests came.
"""
import json
import sys
import threading
import warnings
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

warnings.simplefilter("ignore", DeprecationWarning)  # utcnow() is what the old service calls

lock = threading.Lock()
requests = []
clients, propositions, jobs, templates = {}, {}, {}, {}
FINISHED = ("completed", "failed", "cancelled")


def now():
    return datetime.utcnow().isoformat()


def add_client(name, industry=None, id=None):
    id = id or str(uuid4())
    clients[id] = {
        "id": id,
        "name": name,
        "industry": industry,
        "meta_data": {},
        "created_at": now(),
        "updated_at": now(),
    }
    propositions[id] = []
    return clients[id]


def add_proposition(client_id, content):
    proposition = {
        "id": str(uuid4()),
        "client_id": client_id,
        "content": content,
        "is_active": True,
        "created_at": now(),
        "updated_at": now(),
    }
    propositions[client_id].append(proposition)
    return proposition


def add_job(client_id, id=None):
    id = id or str(uuid4())
    jobs[id] = {
        "id": id,
        "client_id": client_id,
        "value_proposition_id": propositions[client_id][-1]["id"],
        "status": "pending",
        "error_message": None,
        "started_at": None,
        "completed_at": None,
        "generation_duration_ms": None,
        "created_at": now(),
    }
    return jobs[id]


def add_template(job, number):
    id = f"{job['id'][:-2]}e{number}"
    templates[id] = {
        "id": id,
        "job_id": job["id"],
        "client_id": job["client_id"],
        "name": f"Dashboard {number}",
        "description": "What a health plan wants to see first.",
        "category": "roi-focused",
        "target_audience": "Health Plan",
        "key_features": ["Savings", "Trends", "Peers"],
        "widgets": [],
        "visual_style": {},
        "status": "generated",
        "created_at": now(),
        "updated_at": now(),
    }


def change(job, status):
    job["status"] = status
    if status == "running":
        job["started_at"] = now()
    if status in FINISHED:
        job["started_at"] = job["started_at"] or now()
        job["completed_at"] = now()
        job["generation_duration_ms"] = 1500
    if status == "completed":
        for number in (1, 2):
            add_template(job, number)
    if status == "failed":
        job["error_message"] = "the model gave no answer"


CLIENT = "0c000000-0000-4000-8000-000000000001"
add_client("Contoso Care", "Benefits", id=CLIENT)
add_proposition(CLIENT, "Fewer surgeries and faster recovery.")
add_job(CLIENT, id="0a000000-0000-4000-8000-000000000001")
change(add_job(CLIENT, id="0b000000-0000-4000-8000-000000000001"), "running")
change(add_job(CLIENT, id="0d000000-0000-4000-8000-000000000001"), "completed")
change(add_job(CLIENT, id="0f000000-0000-4000-8000-000000000001"), "failed")


def no_uuid(text):
    try:
        UUID(text)
        return False
    except ValueError:
        return True


def badly_formed(parts, query, body):
    """Where the request names a record by what is no UUID, as FastAPI says it; or nothing."""
    kinds = {"clients": "client_id", "jobs": "job_id", "templates": "template_id"}
    if len(parts) > 1 and parts[0] in kinds and parts[-1] != "list" and no_uuid(parts[1]):
        return ["path", kinds[parts[0]]]
    for name in ("client_id", "job_id"):
        if name in query and no_uuid(query[name]):
            return ["query", name]
    for name in ("client_id", "value_proposition_id"):
        if body.get(name) is not None and no_uuid(str(body[name])):
            return ["body", name]
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        sys.stderr.write(format % args + "\n")

    def answer(self, status, value=None, headers=()):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        if status != 204:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, detail):
        self.answer(status, {"detail": detail})

    def handle_request(self):
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        parts = [part for part in url.path.split("/") if part]
        with lock:
            if parts[:1] == ["_control"]:
                return self.control(parts[1:])
            if parts != ["health"]:
                requests.append(f"{self.command} {self.path}")
            # Collections end in a slash and single things don't; FastAPI redirects from the other form.
            collection = parts in (["clients"], ["jobs"], ["templates"])
            if parts and collection != url.path.endswith("/"):
                right = "/" + "/".join(parts) + ("/" if collection else "")
                location = right + (f"?{url.query}" if url.query else "")
                return self.answer(307, headers=[("location", location)])
            at = badly_formed(parts, query, body)
            if at:
                fault = {"type": "uuid_parsing", "loc": at, "msg": "Input should be a valid UUID"}
                return self.answer(422, {"detail": [fault]})
            self.route(self.command, parts, query, body)

    do_GET = do_POST = do_DELETE = do_PATCH = handle_request

    def control(self, parts):
        match parts:
            case ["requests"]:
                self.answer(200, requests)
            case ["jobs", id, status] if id in jobs:
                change(jobs[id], status)
                self.answer(200, jobs[id])
            case _:
                self.refuse(404, "Not Found")

    def route(self, method, parts, query, body):
        match (method, parts):
            case ("GET", ["health"]):
                self.answer(200, {"status": "healthy"})
            case ("GET", ["clients"]):
                wanted = query.get("industry")
                self.page([c for c in clients.values() if not wanted or c["industry"] == wanted], query)
            case ("POST", ["clients"]):
                self.answer(201, add_client(body["name"], body.get("industry")))
            case ("GET", ["clients", id]) if id in clients:
                self.answer(200, clients[id])
            case ("GET", ["clients", id, "with-value-props"]) if id in clients:
                active_only = query.get("active_only") == "true"
                shown = [p for p in propositions[id] if p["is_active"] or not active_only]
                self.answer(200, {"client": clients[id], "value_propositions": shown})
            case ("GET", ["clients", id, "value-propositions"]) if id in clients:
                self.answer(200, propositions[id])
            case ("POST", ["clients", id, "value-propositions"]) if id in clients:
                self.answer(201, add_proposition(id, body["content"]))
            case ("POST", ["jobs"]) if propositions.get(body.get("client_id")):
                self.answer(201, add_job(body["client_id"]))
            case ("GET", ["jobs"]):
                matching = [
                    job
                    for job in jobs.values()
                    if job["client_id"] == query.get("client_id", job["client_id"])
                    and job["status"] == query.get("status", job["status"])
                ]
                self.page(matching, query)
            case ("GET", ["jobs", id]) if id in jobs:
                self.answer(200, jobs[id])
            case ("DELETE", ["jobs", id]) if id in jobs:
                if jobs[id]["status"] in FINISHED:
                    return self.refuse(400, f"Cannot cancel job with status: {jobs[id]['status']}")
                change(jobs[id], "cancelled")
                self.answer(204)
            case ("GET", ["templates"]):
                wanted = query.get("job_id")
                self.page([t for t in templates.values() if not wanted or t["job_id"] == wanted], query)
            case ("GET", ["templates", id]) if id in templates:
                self.answer(200, templates[id])
            case _:
                self.refuse(404, "Not Found")

    def page(self, values, query):
        page, size = int(query.get("page", 1)), int(query.get("page_size", 100))
        self.answer(200, values[(page - 1) * size : page * size])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
