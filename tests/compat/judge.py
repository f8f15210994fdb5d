"""Says in a few fixed words what a client did, from what it saw and what Mare was asked.

The words of a cell are what `expected.toml` knows; its detail holds the figures, which differ from run to run.
"""
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

# An event that comes later than this after it happened was held back by somebody. Far above what a busy
# machine adds, and below what buffering to the end of a job comes to.
HELD_BACK_SECONDS = 2.0
HEARTBEAT_SECONDS = 4
BEARS_SILENCE = "stays"


@dataclass(frozen=True)
class Cell:
    words: str
    detail: str = ""


def cells(scenario: str, events: list[dict], run, row, when: tuple[float, float], goes_on: bool) -> dict[str, Cell]:
    """The cells that this scenario fills. `when` says when what it is about began, and ended."""
    began, until = when
    seen, requests = run.seen, row.requests()
    faults, detail = delivery(events, seen)
    if scenario == "live":
        delay = slowest(seen, began)
        if delay > HELD_BACK_SECONDS:
            faults = [*faults, "events held back"]
        figure = f"{delay * 1000:.0f} ms" if delay else ""
        return {"live": cell(faults, "one by one", detail, figure)}
    if scenario == "finished":
        return {"finished": cell(faults, "whole", detail), "end": ending(seen, requests, goes_on)}
    if scenario in ("reconnect", "deploy"):
        if not interrupted(scenario, run, row, requests, began):
            faults = [*faults, "never interrupted"]
        return {scenario: cell(faults, how(run), detail, longest_gap(seen, began))}
    again = [r for r in requests if began < r.at < until and r.status == 200]
    verdict = cell(faults, "", detail) if faults else silence(run, row, again, began)
    return {"silence": verdict}


def cell(faults: list[str], good: str, *details: str) -> Cell:
    return Cell(", ".join(faults) or good, "; ".join(filter(None, details)))


def delivery(events: list[dict], seen) -> tuple[list[str], str]:
    """What is wrong with what was dispatched, and the figures."""
    wanted = [e["sequence"] for e in events]
    got = [e.get("sequence") for e in seen.events if e.get("event_type") != "job:snapshot"]
    counts = Counter(got)
    missing = [s for s in wanted if s not in counts]
    doubled = [s for s, n in counts.items() if n > 1]
    altered = [e for e in seen.events if e.get("sequence") in wanted and e not in events]
    faults, detail = [], []
    for words, found in (("events missing", missing), ("events doubled", doubled), ("events altered", altered)):
        if found:
            faults.append(words)
            detail.append(f"{words}: {len(found)} of {len(wanted)}")
    if len(seen.events) > len(got):
        faults.append("begins with a snapshot")
    if not doubled and got != sorted(got, key=lambda s: s or 0):
        faults.append("events out of order")
    if missing and seen.ends:
        detail.append(seen.ends[-1][:160])
    return faults, "; ".join(detail)


def slowest(seen, began: float) -> float:
    """By how much the slowest event came after the time that it bears, among those that happened meanwhile."""
    delays = [at - happened(e) for at, e in zip(seen.times, seen.events) if happened(e) > began]
    return max(delays, default=0.0)


def happened(event: dict) -> float:
    return datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()


def ending(seen, requests, goes_on: bool) -> Cell:
    """What the client does once it has the job's end."""
    statuses = [r.status for r in requests]
    if goes_on:
        return Cell("asks again until it is closed", f"{len(statuses)} requests in eight seconds")
    if not seen.ends:
        return Cell("never saw the end")
    why = seen.ends[-1]
    if why == "stopped by the program":
        return Cell("the program stops")
    if statuses and statuses[-1] == 204:
        return Cell("told to stop by the 204", "" if why == "closed by the library" else why[:160])
    if why == "the stream ended":
        return Cell("ends with the stream")
    return Cell("fails", why[:160])


def how(run) -> str:
    return "by itself" if run.runs == 1 else "started again"


def interrupted(scenario: str, run, row, requests, began: float) -> bool:
    """Whether there was anything to come back from: a test that cuts nothing proves nothing."""
    if scenario == "reconnect":
        return any(row.client.agent in agent for agent in row.recorder.cut)
    return run.runs > 1 or any(r.at > began for r in requests)


def longest_gap(seen, began: float) -> str:
    """The longest time without an event, from then on."""
    times = [began, *(t for t in seen.times if t > began)]
    gaps = [b - a for a, b in zip(times, times[1:])]
    return f"{max(gaps):.1f} s" if gaps else ""


def silence(run, row, again: list, began: float) -> Cell:
    comments = [at for at, text in run.seen.comments if "keep-alive" in text and at > began - HEARTBEAT_SECONDS]
    if row.client.language == "shell" and not comments:
        return Cell("no heartbeat comes")
    if run.runs > 1:
        return Cell("fails in silence", run.seen.ends[0][:160])
    if again:
        return Cell("reconnects in silence", f"{len(again)} times")
    return Cell(BEARS_SILENCE, f"{len(comments)} heartbeats" if comments else "")
