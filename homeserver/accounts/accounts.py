"""Accounts of local users: making them, checking their passwords, changing what they may do.

https://spec.matrix.org/v1.19/client-server-api/#account-registration

Everything that changes an account drops what is remembered of its tokens, so a change holds from the
next request on.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from homeserver.accounts.passwords import Passwords
from homeserver.accounts.requester import Requester, UserLocked
from homeserver.accounts.settings import AccountSettings
from homeserver.accounts.tokens import Session, Tokens, store_session
from homeserver.clock import Clock
from homeserver.devices.devices import Devices
from homeserver.errors import Forbidden, InvalidUsername, MatrixError, MissingParam, NotFound, UserInUse
from homeserver.protocol import ids
from storage import accounts
from storage.accounts import Account
from storage.database import Database
from storage.transaction import Transaction

OnDeactivate = Callable[[str, bool], Awaitable[None]]
"""Called with the user ID, and whether to erase what can be erased. Must bear being called again."""


class Accounts:
    def __init__(
        self,
        db: Database,
        clock: Clock,
        server_name: str,
        settings: AccountSettings,
        passwords: Passwords,
        tokens: Tokens,
        devices: Devices,
    ) -> None:
        self._db = db
        self._clock = clock
        self._server_name = server_name
        self._passwords = passwords
        self._tokens = tokens
        self._devices = devices
        self.settings = settings
        self.on_deactivate: list[OnDeactivate] = []

    # Who is there

    async def get(self, user_id: str) -> Account | None:
        return await self._db.read(accounts.get, user_id)

    async def require(self, user_id: str) -> Account:
        account = await self.get(user_id)
        if account is None:
            raise NotFound("There is no such user.")
        return account

    def user_id(self, localpart: str) -> str:
        return f"@{localpart}:{self._server_name}"

    def new_user_id(self, username: str) -> str:
        """The ID a user would get who asks for this name; raises M_INVALID_USERNAME."""
        user_id = self.user_id(username.lower())
        if not ids.is_valid_localpart(username.lower()):
            raise InvalidUsername("A user name consists of a-z, 0-9 and . _ = - / + only.")
        if not ids.fits(user_id):
            raise InvalidUsername("The user name is too long.")
        return user_id

    async def require_available(self, username: str) -> str:
        user_id = self.new_user_id(username)
        if await self.get(user_id) is not None:
            raise UserInUse("This user name is taken.")
        return user_id

    # Making accounts

    async def register(
        self,
        username: str | None,
        password: str | None,
        *,
        is_guest: bool = False,
        is_admin: bool = False,
        guest_id: str | None = None,
        registration_token: str | None = None,
        session: tuple[str | None, str | None, bool] | None = None,
    ) -> tuple[str, Session | None]:
        """The new user's ID; with `session` (device ID, its name, refreshable) logged in at once.

        The account, its first session and the use of a token are one transaction. `guest_id`: a guest
        who becomes a user, instead of a new account.
        """
        username = _random_localpart(is_guest) if username is None else username
        user_id = self.new_user_id(username) if guest_id is None else guest_id
        encoded = None
        if password is not None:
            self._passwords.require_acceptable(password)
            encoded = await self._passwords.hash(password)
        account = Account(user_id, encoded, self._clock.now_ms(), is_admin=is_admin, is_guest=is_guest)
        if session is None:
            await self._db.write(_register, account, guest_id, registration_token, None, None)
            self._tokens.forget_user(user_id)
            return user_id, None
        device_id, display_name, refreshable = session
        made = self._tokens.prepare(user_id, device_id, refreshable=refreshable)
        await self._db.write(_register, account, guest_id, registration_token, made, display_name)
        self._tokens.forget_user(user_id)
        return user_id, made

    # Logging in

    async def check_password(self, user: str, password: str) -> Account:
        """`user`: a user ID or a local part. Raises M_FORBIDDEN for whatever does not fit."""
        account = await self._find_login(user)
        encoded = None if account is None else account.password
        if not await self._passwords.matches(password, encoded) or account is None:
            raise Forbidden("Invalid username or password.")
        return account

    async def log_in(
        self, user_id: str, device_id: str | None, display_name: str | None, *, refreshable: bool
    ) -> Session:
        """A new session of somebody who proved to be this user; a device used again loses its old one."""
        account = await self.get(user_id)
        if account is None or account.deactivated:
            raise Forbidden("This account has been deactivated.", errcode="M_USER_DEACTIVATED")
        if account.locked:
            raise UserLocked
        session = self._tokens.prepare(user_id, device_id, refreshable=refreshable)
        await self._db.write(store_session, session, display_name)
        self._tokens.forget_user(user_id)
        return session

    async def log_out(self, me: Requester) -> None:
        if me.device_id is None:
            await self._db.write(_end_session, me.token_id)
            self._tokens.forget_user(me.user_id)
        else:
            await self._devices.delete(me.user_id, [me.device_id])

    # Changing accounts

    def require_acceptable(self, password: str) -> None:
        self._passwords.require_acceptable(password)

    async def set_password(self, user_id: str, password: str) -> None:
        self._passwords.require_acceptable(password)
        encoded = await self._passwords.hash(password)
        await self._db.write(accounts.set_password, user_id, encoded)

    async def set_flag(self, user_id: str, flag: str, value: bool) -> None:
        """One of is_admin, locked, suspended, erased."""
        if not await self._db.write(accounts.set_flag, user_id, flag, value):
            raise NotFound("There is no such user.")
        self._tokens.forget_user(user_id)

    async def _find_login(self, user: str) -> Account | None:
        """By ID or local part: as written (historical IDs have capitals), then in small letters."""
        user_id = user if user.startswith("@") else self.user_id(user)
        if not user_id.endswith(":" + self._server_name):
            return None
        account = await self.get(user_id)
        if account is None and user_id != user_id.lower():
            account = await self.get(user_id.lower())
        if account is not None and account.deactivated:
            return replace(account, password=None)
        return account


def user_of_identifier(body: dict[str, Any]) -> str:
    """The user named in a password login or stage: `identifier`, or the `user` of old clients.

    https://spec.matrix.org/v1.19/client-server-api/#identifier-types
    """
    identifier = body.get("identifier")
    if identifier is None:
        user = body.get("user")
    elif not isinstance(identifier, dict):
        raise MatrixError("The field 'identifier' is not an object.", errcode="M_BAD_JSON")
    elif identifier.get("type") == "m.id.user":
        user = identifier.get("user")
    elif identifier.get("type") in ("m.id.thirdparty", "m.id.phone"):
        raise Forbidden("Nobody can log in with an address or a phone number here.")
    else:
        raise MatrixError("This type of identifier is not known.")
    if not isinstance(user, str) or "\0" in user:
        raise MissingParam("The user is missing.")
    return user


def _register(
    tx: Transaction,
    account: Account,
    guest_id: str | None,
    token: str | None,
    session: Session | None,
    display_name: str | None,
) -> None:
    if token is not None and not accounts.use_registration_token(tx, token, account.created_ts):
        raise Forbidden("The registration token is not valid (any more).")
    if guest_id is not None:
        added = accounts.become_user(tx, guest_id, account.password)
    else:
        added = accounts.add(tx, account)
    if not added:
        raise UserInUse("This user name is taken.")
    if session is not None:
        store_session(tx, session, display_name)


def _end_session(tx: Transaction, token_id: int) -> None:
    tx.execute("DELETE FROM access_token WHERE token_id = ?", [token_id])


def _random_localpart(is_guest: bool) -> str:
    return ("guest-" if is_guest else "u") + secrets.token_hex(8)
