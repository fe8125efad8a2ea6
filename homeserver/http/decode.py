"""From the bytes of a request to the typed request an endpoint declared.

https://spec.matrix.org/v1.19/client-server-api/#common-error-codes

The body is read strictly (a number in quotes is not a number), the query and the path leniently (they
are nothing but text). Path and query fields overwrite whatever the body says under the same name.
"""

from typing import Any

import msgspec
import orjson

from homeserver.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson
from homeserver.http.endpoint import Endpoint, Request
from homeserver.http.request import HttpRequest


def decode_request(endpoint: Endpoint, request_type: type[Request], request: HttpRequest) -> Request:
    values: dict[str, Any] = {}
    if endpoint.reads_body:
        body = decode_body(request.body, endpoint.body_required)
        if endpoint.body_field is not None:
            values[endpoint.encoded[endpoint.body_field]] = body
        else:
            values = body
            if endpoint.body_texts and b"\\u0000" in request.body:
                _refuse_nul(endpoint, body)
    if endpoint.query_fields:
        _fill_query(endpoint, request, values)
    if request.path_args:
        for name, value in zip(endpoint.path_fields, request.path_args, strict=False):
            values[endpoint.encoded[name]] = value
    try:
        return msgspec.convert(values, request_type)
    except msgspec.ValidationError as error:
        raise _explain(endpoint, str(error)) from error


def decode_body(body: bytes, required: bool) -> dict[str, Any]:
    if not body:
        if required:
            raise NotJson("The request has no body.")
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson("The request body is not valid JSON.") from error
    if type(value) is not dict:
        raise BadJson("The request body is not a JSON object.")
    return value


def _fill_query(endpoint: Endpoint, request: HttpRequest, values: dict[str, Any]) -> None:
    given = request.query_values
    for query in endpoint.query_fields:
        name = endpoint.encoded[query.field]
        values.pop(name, None)
        texts = given.get(query.name)
        if texts is None:
            continue
        try:
            values[name] = msgspec.convert(texts if query.many else texts[-1], query.type, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidParam(f"The query parameter '{query.name}' is wrong: {error}") from error


def _refuse_nul(endpoint: Endpoint, body: dict[str, Any]) -> None:
    for name in endpoint.body_texts:
        value = body.get(name)
        if isinstance(value, str) and "\0" in value:
            raise BadJson(f"The field '{name}' contains a NUL character.")


def _explain(endpoint: Endpoint, message: str) -> MatrixError:
    missing = message.startswith("Object missing required field") and " - at " not in message
    if missing:
        for query in endpoint.query_fields:
            if f"`{endpoint.encoded[query.field]}`" in message:
                return MissingParam(f"The query parameter '{query.name}' is missing.")
        return endpoint.missing(message)
    return BadJson(message)
