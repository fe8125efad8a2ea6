"""Tags of rooms: favourites, low priority, and labels of the user's own.

https://spec.matrix.org/v1.19/client-server-api/#room-tagging

The subtle idea: tags are nothing but the room account data `m.tag`; this reads, changes and writes it
back in one transaction, so two devices that tag at once both keep their tags.
"""

from typing import Any

import orjson

from homeserver.accounts.account_data import encode
from homeserver.errors import BadJson, InvalidParam
from homeserver.protocol.ids import fits, is_valid_room_id
from storage import account_data as store
from storage.database import Database, Transaction

TAG = "m.tag"
MAX_TAGS = 500


class Tags:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, user_id: str, room_id: str) -> dict[str, Any]:
        _check(room_id)
        return await self._db.read(_tags, user_id, room_id)

    async def set(self, user_id: str, room_id: str, tag: str, content: dict[str, Any]) -> None:
        _check(room_id)
        if not tag or not fits(tag):
            raise InvalidParam("A tag has 1 to 255 bytes.")
        order = content.get("order", 0)
        if isinstance(order, bool) or not isinstance(order, int | float):
            raise BadJson("order must be a number.")
        encode(content)
        await self._db.write(_set_tag, user_id, room_id, tag, content)

    async def delete(self, user_id: str, room_id: str, tag: str) -> None:
        """Taking away a tag that is not there is no error."""
        _check(room_id)
        await self._db.write(_delete_tag, user_id, room_id, tag)


def _check(room_id: str) -> None:
    if not is_valid_room_id(room_id):
        raise InvalidParam(f"{room_id} is not a valid room ID.")


def _tags(tx: Transaction, user_id: str, room_id: str) -> dict[str, Any]:
    # Clients may also write m.tag as plain account data, in any shape.
    content = store.get_account_data(tx, user_id, room_id, TAG)
    tags = orjson.loads(content).get("tags") if content else None
    return tags if isinstance(tags, dict) else {}


def _set_tag(tx: Transaction, user_id: str, room_id: str, tag: str, content: dict[str, Any]) -> None:
    tags = _tags(tx, user_id, room_id)
    if tag not in tags and len(tags) >= MAX_TAGS:
        raise InvalidParam("Too many tags on this room.")
    tags[tag] = content
    _write(tx, user_id, room_id, tags)


def _delete_tag(tx: Transaction, user_id: str, room_id: str, tag: str) -> None:
    tags = _tags(tx, user_id, room_id)
    if tag in tags:
        del tags[tag]
        _write(tx, user_id, room_id, tags)


def _write(tx: Transaction, user_id: str, room_id: str, tags: dict[str, Any]) -> None:
    store.set_account_data(tx, user_id, room_id, TAG, encode({"tags": tags}))
