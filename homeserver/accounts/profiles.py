"""Profiles: display name, avatar, time zone, and whatever else users publish about themselves.

https://spec.matrix.org/v1.19/client-server-api/#profiles

The subtle idea: only two fields, `displayname` and `avatar_url`, are copied into the member events of
the user's rooms; `on_profile_change` is called for these, and for nothing else. Clients may say that rooms
where the user goes by another name are to be left alone, or all rooms (MSC4466). Profiles of other servers'
users are asked for through a port, `RemoteProfiles`, and never stored.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from homeserver.accounts.account_data import encode
from homeserver.errors import BadJson, InvalidParam, MatrixError, NotFound
from homeserver.protocol.ids import domain_of, fits, is_valid_user_id
from storage import profiles as store
from storage.database import Change, Database, Transaction

DISPLAYNAME = "displayname"
AVATAR_URL = "avatar_url"
TIME_ZONE = "m.tz"
IN_MEMBER_EVENTS = (DISPLAYNAME, AVATAR_URL)

MAX_PROFILE_BYTES = 65_536
# These two end in events, which have a size limit of their own.
MAX_DISPLAYNAME = 256
MAX_AVATAR_URL = 1000
MAX_CACHED = 50_000

_KEY = re.compile(r"[a-z][a-z0-9_.-]*")

Profile = dict[str, Any]
PropagateTo = Literal["all", "unchanged", "none"]


class Edit(NamedTuple):
    """What was changed, what it was before (None: not there), and which rooms are to show it."""

    key: str
    before: Any
    to: PropagateTo


class KeyTooLarge(MatrixError):
    errcode = "M_KEY_TOO_LARGE"


class ProfileTooLarge(MatrixError):
    errcode = "M_PROFILE_TOO_LARGE"


class RemoteProfiles(Protocol):
    async def profile(self, user_id: str, key: str | None) -> Profile:
        """Asks the user's server, for one field or for all. NotFound, Forbidden as it answers, or 502."""
        ...


class Profiles:
    """`on_profile_change(user_id, profile, edit)` runs after a display name or avatar was stored."""

    def __init__(
        self,
        db: Database,
        server_name: str,
        *,
        on_profile_change: Callable[[str, Profile, Edit], Awaitable[object]],
        remote: RemoteProfiles | None = None,
    ) -> None:
        self._db = db
        self._server_name = server_name
        self._on_profile_change = on_profile_change
        self._remote = remote
        self._cache: dict[str, Profile] = {}
        self._changes = 0
        db.follow(self._follow)

    async def local(self, user_id: str) -> Profile:
        """The profile of one of our users, empty if there is none. Shared: not to be changed."""
        return await self._find(user_id) or {}

    async def member_content(self, user_id: str) -> Profile:
        """What the member events of one of our users say of their profile."""
        profile = await self.local(user_id)
        return {key: profile[key] for key in IN_MEMBER_EVENTS if key in profile}

    async def get(self, user_id: str) -> Profile:
        """Anybody's profile; NotFound where there is no such user.

        A user without a profile gets an empty one: clients warn of inviting people who are not found.
        """
        return await self._look_up(user_id, None)

    async def get_field(self, user_id: str, key: str) -> Profile:
        """`{key: value}`; NotFound where the field is not set."""
        profile = await self._look_up(user_id, key)
        if key not in profile:
            raise NotFound("The profile has no such field.")
        return {key: profile[key]}

    async def set_field(self, user_id: str, key: str, value: Any, to: PropagateTo = "all") -> None:
        """An empty display name or avatar takes the field away, as old clients expect."""
        _check_key(key)
        _check_value(key, value)
        if key in IN_MEMBER_EVENTS and not value:
            await self.delete_field(user_id, key, to)
            return
        await self._tell(user_id, key, to, await self._db.write(_set_field, user_id, key, value))

    async def delete_field(self, user_id: str, key: str, to: PropagateTo = "all") -> None:
        _check_key(key)
        await self._tell(user_id, key, to, await self._db.write(_delete_field, user_id, key))

    async def forget(self, user_id: str, erased: bool) -> None:
        """Nobody will use this account again. Its rooms are left, so no member event needs a change."""
        await self._db.write(store.delete_profile, user_id)

    async def _find(self, user_id: str) -> Profile | None:
        known = self._cache.get(user_id)
        if known is not None:
            return known
        changes = self._changes
        profile = await self._db.read(store.get_profile, user_id)
        if profile is not None and changes == self._changes:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[user_id] = profile
        return profile

    async def _tell(
        self, user_id: str, key: str, to: PropagateTo, changed: tuple[Profile, Any] | None
    ) -> None:
        if changed is not None and key in IN_MEMBER_EVENTS:
            profile, before = changed
            await self._on_profile_change(user_id, profile, Edit(key, before, to))

    async def _look_up(self, user_id: str, key: str | None) -> Profile:
        if not is_valid_user_id(user_id):
            raise InvalidParam("This is not a user ID.")
        if domain_of(user_id) == self._server_name:
            found = await self._find(user_id)
            if found is None:
                raise NotFound("Profile not found.")
            return found
        if self._remote is None:
            raise NotFound("Profile not found.")
        profile = await self._remote.profile(user_id, key)
        return {name: value for name, value in profile.items() if value is not None}

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "profile":
                self._changes += 1
                self._cache.pop(change.data, None)


def is_valid_key(key: str) -> bool:
    return fits(key) and _KEY.fullmatch(key) is not None


def _check_key(key: str) -> None:
    if not fits(key):
        raise KeyTooLarge("A profile key has at most 255 bytes.")
    if not _KEY.fullmatch(key):
        raise InvalidParam("Invalid profile key.")


def _check_value(key: str, value: Any) -> None:
    if key in (*IN_MEMBER_EVENTS, TIME_ZONE) and not isinstance(value, str):
        raise BadJson(f"{key} must be a string.")
    if key == DISPLAYNAME and len(value) > MAX_DISPLAYNAME:
        raise InvalidParam(f"A display name has at most {MAX_DISPLAYNAME} characters.")
    if key == AVATAR_URL and len(value) > MAX_AVATAR_URL:  # clients ignore what is no mxc:// URI
        raise InvalidParam(f"avatar_url has at most {MAX_AVATAR_URL} characters.")


def _set_field(tx: Transaction, user_id: str, key: str, value: Any) -> tuple[Profile, Any] | None:
    """The new profile and the value before, or None where it says so already."""
    profile = store.get_profile(tx, user_id) or {}
    before = profile.get(key)
    if key in profile and encode(before) == encode(value):
        return None
    profile[key] = value
    if len(encode(profile)) >= MAX_PROFILE_BYTES:
        raise ProfileTooLarge("A profile must be smaller than 64 KiB.")
    store.set_profile(tx, user_id, profile)
    return profile, before


def _delete_field(tx: Transaction, user_id: str, key: str) -> tuple[Profile, Any] | None:
    profile = store.get_profile(tx, user_id) or {}
    if key not in profile:
        return None
    before = profile.pop(key)
    store.set_profile(tx, user_id, profile)
    return profile, before
