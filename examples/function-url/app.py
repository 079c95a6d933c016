"""A counter of visits behind a function URL: a page for people, JSON for programs.

GET / shows the page, GET /visits answers {"visits": n}, POST /visits counts one. The count lives as long as the
execution environment does; a real application keeps it in a table or a bucket.
"""

from __future__ import annotations

import base64
import json
from typing import Any

visits = 0

PAGE = """<!doctype html><title>Visits</title>
<p>Visit number {visits}, from {address}. You sent {cookies} cookies.</p>
"""


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    http = event["requestContext"]["http"]
    if event["rawPath"] == "/":
        text = PAGE.format(visits=count(1), address=http["sourceIp"], cookies=len(event.get("cookies", [])))
        cookies = [f"visit={visits}; HttpOnly"]
        return {"statusCode": 200, "headers": {"content-type": "text/html"}, "cookies": cookies, "body": text}
    if event["rawPath"] != "/visits":
        return {"statusCode": 404, "body": json.dumps({"error": "there is nothing here"})}
    if http["method"] == "GET":
        return {"visits": visits}  # no status code: this is the body of a 200
    if http["method"] == "POST":
        return {"statusCode": 201, "body": json.dumps({"visits": count(how_many(event))})}
    return {"statusCode": 405, "headers": {"allow": "GET, POST"}, "body": ""}


def count(more: int) -> int:
    global visits
    visits += more
    return visits


def how_many(event: dict[str, Any]) -> int:
    """The number in the body, which comes in Base64 unless its type is one of text."""
    body = event.get("body", "")
    if event["isBase64Encoded"]:
        body = base64.b64decode(body).decode()
    return int(body) if body.isdigit() else 1
