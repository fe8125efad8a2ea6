"""The EDUs this server sends, each as canonical JSON and below the size that others take.

https://spec.matrix.org/v1.19/server-server-api/#edus

An EDU that is too large would be refused again and again and block all that waits behind it, so there is
none: lists are cut into several, and keys that do not fit are left for the other server to ask for.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import orjson

from homeserver.protocol import canonical_json
from homeserver.sync.presence import PresenceState
from storage.cross_signing import CrossSigningKey
from storage.outgoing import DeviceDetails
from storage.receipts import READ, Receipt

T = TypeVar("T")

MOST_BYTES = 65_000
SIGNING_KEY_UPDATES = ("m.signing_key_update", "org.matrix.signing_key_update")
"""Both are understood by some servers and only one of them by others."""


def edu(edu_type: str, content: bytes) -> bytes:
    """`content` is canonical JSON, and stays as it is."""
    return b'{"content":%b,"edu_type":%b}' % (content, orjson.dumps(edu_type))


def typing(room_id: str, user_id: str, is_typing: bool) -> bytes:
    content = {"room_id": room_id, "typing": is_typing, "user_id": user_id}
    return edu("m.typing", canonical_json.encode(content))


def presence(
    states: Iterable[PresenceState], now_ms: int
) -> Iterator[tuple[bytes, list[PresenceState]]]:
    """Each EDU with what is in it; `receipts` likewise."""
    pushes = [(state, canonical_json.encode(_push(state, now_ms))) for state in states]
    for some in _by_size((each, len(each[1])) for each in pushes):
        content = b'{"push":[%b]}' % b",".join([push for _, push in some])
        yield edu("m.presence", content), [state for state, _ in some]


def _push(state: PresenceState, now_ms: int) -> dict[str, Any]:
    return {"last_active_ago": 0, **state.content(now_ms), "user_id": state.user_id}


def receipts(given: Sequence[Receipt]) -> Iterator[tuple[bytes, list[Receipt]]]:
    """A user's receipts in several threads of a room have one place in an EDU, so they need several."""
    rounds: list[list[Receipt]] = []
    seen: dict[tuple[str, str], int] = {}
    for each in given:
        place = (each.room_id, each.user_id)
        turn = seen[place] = seen.get(place, -1) + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(each)
    for some in rounds:
        sized = ((each, len(_receipt_json(each)) + len(each.room_id)) for each in some)
        for piece in _by_size(sized):
            yield _receipt_edu(piece), piece


def _receipt_edu(given: Iterable[Receipt]) -> bytes:
    rooms: dict[str, dict[str, dict[str, Any]]] = {}
    for each in given:
        readers = rooms.setdefault(each.room_id, {READ: {}})[READ]
        readers[each.user_id] = orjson.Fragment(_receipt_json(each))
    return edu("m.receipt", canonical_json.encode(rooms))


def _receipt_json(receipt: Receipt) -> bytes:
    data: dict[str, Any] = {"ts": receipt.ts}
    if receipt.thread_id is not None:
        data["thread_id"] = receipt.thread_id
    return canonical_json.encode({"data": data, "event_ids": [receipt.event_id]})


def device_list_update(details: DeviceDetails) -> bytes | None:
    """None if it does not fit: the next update will tell the other server that it missed one."""
    content: dict[str, Any] = {
        "device_id": details.news.device_id,
        "prev_id": [details.previous] if details.previous is not None else [],
        "stream_id": details.news.position,
        "user_id": details.news.user_id,
    }
    if details.keys is None:
        content["deleted"] = True
    else:
        content["keys"] = orjson.Fragment(details.keys)
        if details.display_name is not None:
            content["device_display_name"] = details.display_name
    return _fitting(edu("m.device_list_update", canonical_json.encode(content)))


def signing_key_updates(user_id: str, keys: Iterable[CrossSigningKey]) -> list[bytes]:
    content: dict[str, Any] = {"user_id": user_id}
    for key in keys:
        if key.usage in ("master", "self_signing"):
            content[f"{key.usage}_key"] = orjson.Fragment(key.keys)
    body = canonical_json.encode(content)
    return [each for name in SIGNING_KEY_UPDATES if (each := _fitting(edu(name, body))) is not None]


def direct_to_device(content: bytes) -> bytes:
    return edu("m.direct_to_device", content)


def _fitting(made: bytes) -> bytes | None:
    return made if len(made) <= MOST_BYTES else None


def _by_size(sized: Iterable[tuple[T, int]]) -> Iterator[list[T]]:
    """Lists whose parts have fewer bytes together than an EDU may have."""
    piece: list[T] = []
    size = 0
    for part, length in sized:
        if piece and size + length > MOST_BYTES - 1000:
            yield piece
            piece, size = [], 0
        piece.append(part)
        size += length + 600
    if piece:
        yield piece
