"""Deactivating an account: nobody logs in to it ever again, and its ID is never given out again.

https://spec.matrix.org/v1.19/client-server-api/#account-deactivation

What must happen elsewhere (leaving the rooms, above all) is in `Accounts.on_deactivate`, and takes time. The
account stays marked `parting` until all of it is done, so a restart goes on where it stopped: every hook
must bear being called again.
"""

from twisted.logger import Logger

from homeserver.accounts.accounts import Accounts
from homeserver.accounts.tokens import Tokens
from homeserver.devices.devices import Devices
from storage import accounts
from storage.database import Database
from storage.transaction import Transaction

log = Logger()


class Deactivation:
    def __init__(self, db: Database, accounts: Accounts, tokens: Tokens, devices: Devices) -> None:
        self._db = db
        self._accounts = accounts
        self._tokens = tokens
        self._devices = devices

    async def deactivate(self, user_id: str, *, erase: bool = False) -> None:
        await self._db.write(self._deactivate, user_id, erase)
        self._tokens.forget_user(user_id)
        await self._part(user_id)

    async def resume(self) -> None:
        """Finishes what was under way when the server stopped. What fails again waits for the next start."""
        for user_id in await self._db.read(accounts.parting):
            try:
                await self._part(user_id)
            except Exception:
                log.failure("the deactivation of {user_id} could not be finished", user_id=user_id)

    async def _part(self, user_id: str) -> None:
        account = await self._db.read(accounts.get, user_id)
        assert account is not None
        for hook in self._accounts.on_deactivate:
            await hook(user_id, account.erased)
        await self._db.write(accounts.set_flag, user_id, "parting", False)

    def _deactivate(self, tx: Transaction, user_id: str, erase: bool) -> None:
        accounts.deactivate(tx, user_id, erase)
        self._devices.delete_all_in(tx, user_id)
        tx.execute("DELETE FROM login_token WHERE user_id = ?", [user_id])
