"""Taking what other servers send: events of rooms, and EDUs.

https://spec.matrix.org/v1.19/server-server-api/#transactions

Events of old rooms hold numbers that a usual JSON reader would change, and with them the event's hash, so
the body is read here.
"""

from typing import Any

import msgspec

from federation import federation
from federation.inspection import MAX_SENT_BYTES
from federation.server.auth import LARGE, SERVER, Origin
from homeserver.errors import BadJson, InvalidParam, MissingParam, NotJson
from homeserver.http.endpoint import HttpRequest, Request, put
from homeserver.protocol import canonical_json
from homeserver.protocol.ids import fits
from homeserver.server import Server

MAX_PDUS = 50
MAX_EDUS = 100
MAX_BODY = (MAX_PDUS + MAX_EDUS) * 65_536


class SendTransaction(Request, kw_only=True):
    txn_id: str


class Transaction(msgspec.Struct, kw_only=True):
    origin: str
    pdus: list[msgspec.Raw] | None
    edus: list[msgspec.Raw] | None = None


@put("/_matrix/federation/v1/send/{txn_id}", auth=SERVER, raw=True, max_body=MAX_BODY)
async def send_transaction(
    server: Server, me: Origin, req: SendTransaction, http: HttpRequest
) -> dict[str, Any]:
    if not fits(req.txn_id):
        raise InvalidParam("The transaction ID is too long.")
    here = federation.of(server)
    if len(http.body) <= LARGE:
        pdus, edus = _read(http.body, me.server_name)
    else:
        pdus, edus = await here.inspector.apart(_read, http.body, me.server_name)
    receiver = federation.receiver_of(server)
    return {"pdus": await receiver.receive(me.server_name, req.txn_id, pdus, edus, len(http.body))}


def _read(body: bytes, origin: str) -> tuple[list[Any], list[Any]]:
    """Its PDUs and EDUs."""
    try:
        transaction = msgspec.json.decode(body, type=Transaction)
    except msgspec.ValidationError as error:
        missing = "missing required field" in str(error)
        raise (MissingParam if missing else BadJson)(str(error)) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise NotJson("The request body is not valid JSON.") from error
    if transaction.origin != origin:
        raise InvalidParam("The transaction is of another origin than the request.")
    # What has no empty lists writes null.
    pdus, edus = transaction.pdus or [], transaction.edus or []
    if len(pdus) > MAX_PDUS or len(edus) > MAX_EDUS:
        raise InvalidParam(f"A transaction has at most {MAX_PDUS} PDUs and {MAX_EDUS} EDUs.")
    return [_value(pdu) for pdu in pdus], [_value(edu) for edu in edus]


def _value(sent: msgspec.Raw) -> Any:
    """None for what is no JSON, or larger than any event is sent."""
    if len(memoryview(sent)) > MAX_SENT_BYTES:
        return None
    try:
        return canonical_json.decode_lax(bytes(sent))
    except (ValueError, RecursionError):
        return None
