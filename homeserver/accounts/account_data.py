"""Account data as clients read and write it, and what the server itself reads of it: ignored users.

https://spec.matrix.org/v1.19/client-server-api/#client-config
https://spec.matrix.org/v1.19/client-server-api/#ignoring-users

The subtle idea: every sync, push and invite asks whom a user ignores, so the answer is kept in memory
and dropped when the stream says that the list changed. A read that was under way meanwhile may hold the
old list and is not kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from homeserver.errors import BadJson, InvalidParam, MatrixError, NotFound
from homeserver.protocol import canonical_json
from homeserver.protocol.ids import fits, is_valid_room_id, is_valid_user_id
from storage import account_data as store
from storage.database import Change, Database, Transaction
from storage.filters import delete_filters

FULLY_READ = "m.fully_read"
PUSH_RULES = "m.push_rules"
IGNORED_USER_LIST = "m.ignored_user_list"
INVITE_PERMISSION = "m.invite_permission_config"

SERVER_MANAGED = frozenset({FULLY_READ, PUSH_RULES})
"""Written through interfaces of their own, never as account data."""

IGNORED_USERS_CHANGED = ((None, IGNORED_USER_LIST), (None, None))
"""The `data` of changes after which the list of ignored users may be another one."""

MAX_CACHED = 100_000


class ServerManaged(MatrixError):
    status, errcode = 405, "M_BAD_JSON"


class AccountData:
    """Nobody can ignore `heard_by_all`, or block their invites."""

    def __init__(self, db: Database, heard_by_all: str | None = None) -> None:
        self._db = db
        self._heard_by_all = heard_by_all
        self._ignored: dict[str, frozenset[str]] = {}
        self._ignored_changes = 0
        db.follow(self._follow)

    async def set(
        self, user_id: str, room_id: str | None, data_type: str, content: Mapping[str, Any]
    ) -> None:
        _check(room_id, data_type)
        _refuse_managed(data_type)
        await self._db.write(store.set_account_data, user_id, room_id, data_type, encode(content))

    async def get(self, user_id: str, room_id: str | None, data_type: str) -> bytes:
        """The content as JSON; NotFound where there is none or it was deleted."""
        _check(room_id, data_type)
        content = await self._db.read(store.get_account_data, user_id, room_id, data_type)
        if content is None:
            raise NotFound("Account data not found.")
        return content

    async def delete(self, user_id: str, room_id: str | None, data_type: str) -> None:
        """MSC3391. Deleting what is not there is no error."""
        _check(room_id, data_type)
        _refuse_managed(data_type)
        await self._db.write(_delete, user_id, room_id, data_type)

    async def forget(self, user_id: str, erased: bool) -> None:
        """Nobody will use this account again: what it kept is of no use to anybody."""
        await self._db.write(_forget, user_id)

    async def ignored_users(self, user_id: str) -> frozenset[str]:
        """Whom this user ignores: of them, sync shows no invites and no events but state."""
        known = self._ignored.get(user_id)
        if known is not None:
            return known
        changes = self._ignored_changes
        content = await self._db.read(store.get_account_data, user_id, None, IGNORED_USER_LIST)
        ignored = _ignored_users(user_id, content) - {self._heard_by_all}
        if changes == self._ignored_changes:
            if len(self._ignored) >= MAX_CACHED:
                self._ignored.clear()
            self._ignored[user_id] = ignored
        return ignored

    async def blocks_invites(self, user_id: str, sender: str) -> bool:
        """https://spec.matrix.org/v1.19/client-server-api/#invite-permission"""
        if sender == self._heard_by_all:
            return False
        content = await self._db.read(store.get_account_data, user_id, None, INVITE_PERMISSION)
        return content is not None and orjson.loads(content).get("default_action") == "block"

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "account_data" and change.data in IGNORED_USERS_CHANGED:
                self._ignored_changes += 1
                for user_id in change.users:
                    self._ignored.pop(user_id, None)


def encode(content: Any) -> bytes:
    """What is stored; BadJson for what could not be served again (absurd depth, absurd numbers)."""
    try:
        return canonical_json.encode(content)
    except canonical_json.NotCanonical as error:
        raise BadJson(str(error)) from error


def _delete(tx: Transaction, user_id: str, room_id: str | None, data_type: str) -> None:
    if store.get_account_data(tx, user_id, room_id, data_type) is not None:
        store.set_account_data(tx, user_id, room_id, data_type, store.DELETED)


def _forget(tx: Transaction, user_id: str) -> None:
    store.delete_all(tx, user_id)
    delete_filters(tx, user_id)


def _check(room_id: str | None, data_type: str) -> None:
    if room_id is not None and not is_valid_room_id(room_id):
        raise InvalidParam(f"{room_id} is not a valid room ID.")
    if not data_type or not fits(data_type):
        raise InvalidParam("The type must have 1 to 255 bytes.")


def _refuse_managed(data_type: str) -> None:
    if data_type in SERVER_MANAGED:
        raise ServerManaged(f"Cannot set {data_type} through this API.")


def _ignored_users(user_id: str, content: bytes | None) -> frozenset[str]:
    """Clients wrote the list, so anything may stand in it. Nobody ignores themselves."""
    listed = orjson.loads(content).get("ignored_users") if content else None
    if not isinstance(listed, dict):
        return frozenset()
    return frozenset(name for name in listed if name != user_id and is_valid_user_id(name))
