"""The table of accounts, and the tokens that let people make one."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.transaction import Transaction

FLAGS = ("is_admin", "is_guest", "locked", "suspended", "deactivated", "parting", "erased")


@dataclass(frozen=True, slots=True)
class Account:
    user_id: str
    # The encoded hash; None where nobody can log in with a password.
    password: str | None
    created_ts: int
    is_admin: bool = False
    is_guest: bool = False
    locked: bool = False
    suspended: bool = False
    deactivated: bool = False
    # Deactivated, with something still to be done for it (see `homeserver.accounts.deactivation`).
    parting: bool = False
    erased: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    token: str
    uses_allowed: int | None
    completed: int
    expiry_ts: int | None


_ACCOUNT = f"user_id, password, created_ts, {', '.join(FLAGS)}"


def add(tx: Transaction, account: Account) -> bool:
    """False, and nothing written, if the user ID was ever taken before."""
    if tx.one("SELECT 1 FROM account WHERE user_id = ?", [account.user_id]) is not None:
        return False
    row = [account.user_id, account.password, account.created_ts]
    flags = [int(getattr(account, flag)) for flag in FLAGS]
    tx.announce("account", data=account.user_id)
    tx.insert("account", ("user_id", "password", "created_ts", *FLAGS), [[*row, *flags]])
    return True


def get(tx: Transaction, user_id: str) -> Account | None:
    row = tx.one(f"SELECT {_ACCOUNT} FROM account WHERE user_id = ?", [user_id])
    return None if row is None else Account(*row[:3], *map(bool, row[3:]))


def existing(tx: Transaction, user_ids: Sequence[str]) -> set[str]:
    rows = tx.all(f"SELECT user_id FROM account WHERE {tx.any('user_id')}", [tx.array(user_ids)])
    return {user_id for (user_id,) in rows}


def guests_among(tx: Transaction, user_ids: Sequence[str]) -> list[str]:
    rows = tx.all(
        f"SELECT user_id FROM account WHERE is_guest = 1 AND {tx.any('user_id')}", [tx.array(user_ids)]
    )
    return [user_id for (user_id,) in rows]


def become_user(tx: Transaction, user_id: str, password: str | None) -> bool:
    """False if this is no guest (any more)."""
    return (
        tx.execute(
            "UPDATE account SET is_guest = 0, password = ?"
            " WHERE user_id = ? AND is_guest = 1 AND deactivated = 0",
            [password, user_id],
        )
        == 1
    )


def set_password(tx: Transaction, user_id: str, password: str | None) -> None:
    tx.execute("UPDATE account SET password = ? WHERE user_id = ?", [password, user_id])


def set_flag(tx: Transaction, user_id: str, flag: str, value: bool) -> bool:
    """False if there is no such account."""
    if flag not in FLAGS:
        raise ValueError(flag)
    return tx.execute(f"UPDATE account SET {flag} = ? WHERE user_id = ?", [int(value), user_id]) == 1


def deactivate(tx: Transaction, user_id: str, erase: bool) -> None:
    """Erasure, once asked for, stays."""
    tx.execute(
        "UPDATE account SET deactivated = 1, parting = 1, password = NULL, is_admin = 0,"
        " erased = CASE WHEN ? = 1 THEN 1 ELSE erased END WHERE user_id = ?",
        [int(erase), user_id],
    )


def parting(tx: Transaction) -> list[str]:
    return [user_id for (user_id,) in tx.all("SELECT user_id FROM account WHERE parting = 1")]


# Registration tokens


def add_registration_token(tx: Transaction, token: RegistrationToken) -> bool:
    """False if there is one of that name."""
    if registration_token(tx, token.token) is not None:
        return False
    tx.insert(
        "registration_token",
        ("token", "uses_allowed", "completed", "expiry_ts"),
        [(token.token, token.uses_allowed, token.completed, token.expiry_ts)],
    )
    return True


def registration_token(tx: Transaction, token: str) -> RegistrationToken | None:
    row = tx.one(
        "SELECT token, uses_allowed, completed, expiry_ts FROM registration_token WHERE token = ?", [token]
    )
    return None if row is None else RegistrationToken(*row)


def registration_tokens(tx: Transaction) -> list[RegistrationToken]:
    rows = tx.all("SELECT token, uses_allowed, completed, expiry_ts FROM registration_token ORDER BY token")
    return [RegistrationToken(*row) for row in rows]


def update_registration_token(
    tx: Transaction, token: str, uses_allowed: int | None, expiry_ts: int | None
) -> None:
    tx.execute(
        "UPDATE registration_token SET uses_allowed = ?, expiry_ts = ? WHERE token = ?",
        [uses_allowed, expiry_ts, token],
    )


def delete_registration_token(tx: Transaction, token: str) -> bool:
    return tx.execute("DELETE FROM registration_token WHERE token = ?", [token]) == 1


def use_registration_token(tx: Transaction, token: str, now: int) -> bool:
    """Counts one completed registration; False if the token is not good (any more)."""
    return tx.execute(
        "UPDATE registration_token SET completed = completed + 1 WHERE token = ?"
        " AND (uses_allowed IS NULL OR completed < uses_allowed) AND (expiry_ts IS NULL OR expiry_ts > ?)",
        [token, now],
    ) == 1
