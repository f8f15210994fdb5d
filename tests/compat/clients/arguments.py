"""The stream's URL; the header with which a program that was started again goes on; how it says what it saw."""
import json
import sys

url = sys.argv[1]
headers = {"Last-Event-ID": sys.argv[2]} if len(sys.argv) > 2 else {}


def tell(event, id=None):
    print(json.dumps({"id": id, "event": event}), flush=True)


def stopped(why):
    print(json.dumps({"stopped": why}), flush=True)
