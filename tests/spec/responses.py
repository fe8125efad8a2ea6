"""Holds every answer of a test against the specification's schema for that operation and status.

https://spec.matrix.org/v1.19/client-server-api/

`responses.json` is derived from the specification's OpenAPI files (`derive_schemas.py`). An error that the
specification does not list for its operation must still be a standard error response. Where a schema
contradicts the text, `EXCEPTIONS` says so and what holds instead.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
from jsonschema import Draft202012Validator, FormatChecker

Schema = dict[str, Any]

_DERIVED = json.loads((Path(__file__).parent / "responses.json").read_text())
_OPERATIONS: dict[str, dict[str, Schema | bool | None]] = _DERIVED["operations"]

STANDARD_ERROR: Schema = {
    "type": "object",
    "properties": {
        "errcode": {"type": "string", "pattern": r"^([A-Z][A-Z0-9]*_|[A-Za-z]+\.)[A-Za-z0-9_.]+$"},
        "error": {"type": "string", "minLength": 1},
        "soft_logout": {"type": "boolean"},
        "retry_after_ms": {"type": "integer", "minimum": 0},
    },
    "required": ["errcode", "error"],
}

# Clients may keep backups of algorithms that the specification does not know yet.
_BACKUP: Schema = {"required": ["algorithm", "auth_data", "count", "etag", "version"]}

# (operation, status), and what holds instead of the derived schema.
EXCEPTIONS: dict[tuple[str, str], Schema | bool] = {
    # Where there is no TURN server there is nothing to say, and clients expect just that.
    ("GET /_matrix/client/v3/voip/turnServer", "200"): {"type": "object"},
    # "oneOf: any object, or a state event": a state event is both.
    ("GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", "200"): {"type": "object"},
    # The event comes back as its server made it, and `origin` is no key of events any more.
    ("PUT /_matrix/federation/v1/invite/{roomId}/{eventId}", "200"): {"type": "array"},
    ("PUT /_matrix/federation/v2/invite/{roomId}/{eventId}", "200"): {"required": ["event"]},
    ("GET /_matrix/client/v3/room_keys/version", "200"): _BACKUP,
    ("GET /_matrix/client/v3/room_keys/version/{version}", "200"): _BACKUP,
    # The text asks for user-interactive authentication, the list of answers forgets it.
    ("POST /_matrix/client/v3/keys/device_signing/upload", "401"): {"$ref": "#/$defs/auth_response"},
}

# Filters by (whose, ID) that ask for the federation format or for some fields only, and so get events of
# another shape.
_shaping: set[tuple[str, str]] = set()


def check(response: httpx.Response) -> None:
    """Fails unless the answer is what the specification says; of paths beyond it, only errors are known."""
    request = response.request
    operation = find(request.method, request.url.raw_path.decode().partition("?")[0])
    if request.url.path.startswith(("/_matrix/client/", "/.well-known/")):
        assert response.headers.get("access-control-allow-origin") == "*", f"{request.url}: no CORS headers"
    delayed = "org.matrix.msc4140.delay" in request.url.params and response.status_code == 200
    if request.method == "OPTIONS" or delayed or _shapes_events(request):
        return
    if operation is None:
        validator = _errors if response.status_code >= 400 else None
    else:
        validator = _validator(operation, response.status_code)
    if validator is None:
        return
    response.read()
    shown = f"{operation or request.url}: {response.status_code} {response.text[:2000]}"
    kind = response.headers.get("content-type", "").partition(";")[0]
    assert kind == "application/json", f"{shown}\nis not JSON but {kind or 'of no type'}"
    body = response.json()
    wrong = [f"  {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(body)]
    assert not wrong, f"{shown}\nis not what the specification says:\n" + "\n".join(wrong[:10])
    if "filter_id" in body and _is_shaping(request.content.decode()):
        _shaping.add((request.headers["authorization"], body["filter_id"]))


def find(method: str, path: str) -> str | None:
    """The operation, as `GET /path/with/{parameters}`; literal parts win over parameters."""
    path = path.replace("/_matrix/client/r0/", "/_matrix/client/v3/", 1)
    for pattern, operation in _patterns(method):
        if pattern.fullmatch(path):
            return operation
    return None


@cache
def _patterns(method: str) -> list[tuple[re.Pattern[str], str]]:
    mine = [operation for operation in _OPERATIONS if operation.startswith(f"{method} ")]
    mine.sort(key=lambda operation: operation.count("{"))
    patterns = []
    for operation in mine:
        parts = re.split(r"(\{\w+\})", operation.partition(" ")[2])
        expression = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
        if operation.endswith("/{stateKey}"):  # the trailing slash is optional with an empty state key
            expression = expression.removesuffix("/[^/]+") + "(/[^/]*)?"
        patterns.append((re.compile(expression), operation))
    return patterns


def _shapes_events(request: httpx.Request) -> bool:
    for given in parse_qs(request.url.query.decode()).get("filter", ()):
        if _is_shaping(given) or (request.headers.get("authorization", ""), given) in _shaping:
            return True
    return False


def _is_shaping(event_filter: str) -> bool:
    return "event_format" in event_filter or "event_fields" in event_filter


@cache
def _validator(operation: str, status: int) -> Draft202012Validator | None:
    specified = _OPERATIONS[operation]
    schema = EXCEPTIONS.get((operation, str(status)), specified.get(str(status), False))
    if schema is None:  # no JSON
        return None
    if status >= 400:
        schema = _error(schema, status)
    elif schema is False:
        schema = {"not": {}}
    return Draft202012Validator(_inlined(schema), format_checker=FORMATS)


def _error(schema: Schema | bool, status: int) -> Schema:
    if isinstance(schema, bool):
        return STANDARD_ERROR
    if status == 401:  # the token comes before the stages of user-interactive authentication
        return {"anyOf": [STANDARD_ERROR, schema]}
    return {"allOf": [STANDARD_ERROR, schema]}


def _inlined(schema: Any) -> Any:
    """No definition refers to itself; without references, validating is twice as fast."""
    if isinstance(schema, list):
        return [_inlined(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(reference := schema.get("$ref"), str):
        rest = {key: _inlined(value) for key, value in schema.items() if key != "$ref"}
        definition = _definition(reference.rpartition("/")[2])
        return {**rest, "allOf": [definition, *rest.get("allOf", ())]} if rest else definition
    return {key: _inlined(value) for key, value in schema.items()}


@cache
def _definition(name: str) -> Any:
    return _inlined(_DERIVED["$defs"][name])


FORMATS = FormatChecker(formats=())


_errors = Draft202012Validator(STANDARD_ERROR)


def _format(name: str, expression: str) -> None:
    matches: Callable[[str], object] = re.compile(expression, re.DOTALL).fullmatch
    FORMATS.checks(name)(lambda value: not isinstance(value, str) or bool(matches(value)))


_format("mx-user-id", r"@[^:]*:.+")
_format("mx-room-id", r"![^:]+(:.+)?")
_format("mx-event-id", r"\$[^:]+(:.+)?")
_format("mx-room-alias", r"#[^:]+:.+")
_format("mx-server-name", r"[0-9A-Za-z.\-\[\]:]+")
_format("mx-mxc-uri", r"mxc://[^/]+/[0-9A-Za-z_\-]+")
_format("uri", r"[a-z][a-z0-9+.\-]*:.+")
