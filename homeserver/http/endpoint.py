"""Declaring endpoints: a path, who may call it, and a typed request.

    class SetTyping(Request, kw_only=True):
        room_id: str                                     # {room_id} in the path
        typing: bool                                     # from the JSON body
        since: Annotated[str | None, Query("from")] = None   # from the query, renamed
        content: Annotated[dict[str, Any], Body]         # the whole JSON body, for free-form content

    @put("/_matrix/client/v3/rooms/{room_id}/typing", auth=USER, rate="typing")
    async def set_typing(server: Server, me: Requester, req: SetTyping) -> None: ...

Everything about a handler is worked out here, once: which field comes from where, and which arguments
it wants (the server first, then any of Requester, its Request, ClientInfo, HttpRequest, RateLimiter, by
annotation). A request then only fills in values. See `decode` for the filling.
"""

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from homeserver.accounts.requester import Requester
from homeserver.errors import BadJson, MatrixError
from homeserver.http.auth import ADMIN, OPEN, OPTIONAL, USER, Auth
from homeserver.http.rate_limit import RateLimiter
from homeserver.http.request import ClientInfo, HttpRequest
from homeserver.http.response import Response

__all__ = [
    "ADMIN", "OPEN", "OPTIONAL", "ROUTES", "USER", "Body", "ClientInfo", "Endpoint", "HttpRequest", "Query",
    "RateLimiter", "Request", "Requester", "Response", "delete", "get", "post", "put",
]

MAX_BODY = 4 * 1024 * 1024

_V3 = "/_matrix/client/v3/"
_R0 = "/_matrix/client/r0/"

Argument = Literal["server", "me", "req", "client", "http", "limiter"]
Handler = Callable[..., Any]


class Request(msgspec.Struct, kw_only=True):
    """The base of typed requests. Unknown fields are ignored; wrong types are the client's error."""


class Body:
    """Marks the field that takes the whole JSON object of the body."""


class Query:
    """Marks a field that comes from the query string, under another name if one is given."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name


class QueryField:
    """One query parameter: its name on the wire, the field it fills, and how to read it."""

    __slots__ = ("field", "many", "name", "type")

    def __init__(self, name: str, field: str, annotation: Any) -> None:
        self.name = name
        self.field = field
        self.type = annotation
        self.many = any(get_origin(option) in (list, set, tuple) for option in _options(annotation))


class Endpoint:
    __slots__ = (
        "arguments", "auth", "body_field", "body_required", "body_texts", "cancel_on_disconnect", "encoded",
        "guests", "handler", "locked", "max_body", "method", "missing", "path_fields", "paths",
        "query_fields", "rate", "raw", "reads_body", "request_type", "writes",
    )

    def __init__(
        self, method: str, path: str, handler: Handler, *, auth: Auth, aliases: Sequence[str],
        rate: str | None, guests: bool, writes: bool, locked: bool, raw: bool, max_body: int,
        cancel_on_disconnect: bool, missing: type[MatrixError],
    ) -> None:
        self.method = method
        self.paths = _all_paths(path, aliases)
        self.handler = handler
        self.auth = auth
        # The bucket of the rate limit; None for endpoints that are never limited.
        self.rate = rate
        # Open to guest accounts; refused to suspended users; open to locked users (logging out).
        self.guests, self.writes, self.locked = guests, writes, locked
        # Raw: the handler reads HttpRequest.body itself, whatever its content type.
        self.raw = raw
        self.max_body = max_body
        # Cancels the Deferred the handler awaits when the client goes away: for long polls, which must
        # not share that Deferred with anyone else.
        self.cancel_on_disconnect = cancel_on_disconnect
        self.missing = missing
        self.path_fields = _parameters(path)
        self.arguments: list[Argument] = []
        self.request_type: type[Request] | None = None
        self.query_fields: list[QueryField] = []
        self.body_field: str | None = None
        self.body_required = False
        self.body_texts: list[str] = []
        self.reads_body = False
        # Field names in Python and in the struct's encoding, where they differ.
        self.encoded: dict[str, str] = {}
        self._inspect_handler()

    def _inspect_handler(self) -> None:
        hints = get_type_hints(self.handler)
        for position, name in enumerate(inspect.signature(self.handler).parameters):
            argument: Argument = "server" if position == 0 else self._argument(name, hints[name])
            self.arguments.append(argument)

    def _argument(self, name: str, annotation: Any) -> Argument:
        for option in _options(annotation):
            if not isinstance(option, type) or option is types.NoneType:
                continue
            if issubclass(option, Request):
                self.request_type = option
                self._inspect_request(option)
                return "req"
            if issubclass(option, ClientInfo):
                return "client"
            if issubclass(option, HttpRequest):
                return "http"
            if issubclass(option, RateLimiter):
                return "limiter"
            if name == "me":
                return "me"
        raise TypeError(f"{self.handler.__qualname__}: nothing to give for the parameter {name!r}")

    def _inspect_request(self, request_type: type[Request]) -> None:
        hints = get_type_hints(request_type, include_extras=True)
        fields = {field.name: field for field in msgspec.structs.fields(request_type)}
        for name in self.path_fields:
            if name not in fields:
                raise TypeError(f"{request_type.__qualname__} has no field for {{{name}}}")
        for name, field in fields.items():
            self.encoded[name] = field.encode_name
            if name in self.path_fields:
                continue
            annotation, marks = _unwrap(hints[name])
            query = next((mark for mark in marks if isinstance(mark, Query)), None)
            if query is not None:
                self.query_fields.append(QueryField(query.name or field.encode_name, name, annotation))
            elif Body in marks:
                self.body_field, self.body_required, self.reads_body = name, field.required, True
            elif self.method in ("GET", "DELETE"):
                self.query_fields.append(QueryField(field.encode_name, name, annotation))
            else:
                self.reads_body = True
                self.body_required = self.body_required or field.required
                if str in _options(annotation):
                    self.body_texts.append(field.encode_name)


def _all_paths(path: str, aliases: Sequence[str]) -> list[str]:
    paths = [path, *aliases]
    return paths + [_R0 + each.removeprefix(_V3) for each in paths if each.startswith(_V3)]


def _parameters(path: str) -> list[str]:
    return [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]


def _options(annotation: Any) -> tuple[Any, ...]:
    annotation, _ = _unwrap(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return inner, tuple(marks)
    return annotation, ()


ROUTES: list[Endpoint] = []
F = TypeVar("F", bound=Handler)


class _Declare:
    """`@put(path, auth=USER, ...)`: adds the handler to ROUTES and leaves it as it is."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __call__(
        self,
        path: str,
        *,
        auth: Auth,
        aliases: Sequence[str] = (),
        rate: str | None = None,
        guests: bool = False,
        writes: bool = False,
        locked: bool = False,
        raw: bool = False,
        max_body: int = MAX_BODY,
        cancel_on_disconnect: bool = False,
        missing: type[MatrixError] = BadJson,
    ) -> Callable[[F], F]:
        def declare(handler: F) -> F:
            ROUTES.append(Endpoint(
                self._method, path, handler, auth=auth, aliases=aliases, rate=rate, guests=guests,
                writes=writes, locked=locked, raw=raw, max_body=max_body,
                cancel_on_disconnect=cancel_on_disconnect, missing=missing,
            ))
            return handler

        return declare


get = _Declare("GET")
put = _Declare("PUT")
post = _Declare("POST")
delete = _Declare("DELETE")
