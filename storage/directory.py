"""Local aliases and the published room directory.

https://spec.matrix.org/v1.19/client-server-api/#room-aliases
https://spec.matrix.org/v1.19/client-server-api/#published-room-directory

Publishing is announced on the stream "directory", so that every process can keep its list in memory.
"""

from collections.abc import Collection
from typing import NamedTuple

from storage.transaction import Transaction

OWN = ""
"""The server's own list, as opposed to the network of an application service."""


class Alias(NamedTuple):
    alias: str
    room_id: str
    creator: str


class Published(NamedTuple):
    """The data of a change of the stream "directory"."""

    room_id: str
    network: str
    published: bool


def add_alias(tx: Transaction, alias: str, room_id: str, creator: str, now_ms: int) -> bool:
    """False if the alias is taken."""
    if find_alias(tx, alias) is not None:
        return False
    columns = ("alias", "room_id", "creator", "created_ts")
    tx.insert("room_alias", columns, [(alias, room_id, creator, now_ms)])
    return True


def find_alias(tx: Transaction, alias: str) -> Alias | None:
    row = tx.one("SELECT alias, room_id, creator FROM room_alias WHERE alias = ?", [alias])
    return None if row is None else Alias(*row)


def room_ids(tx: Transaction, aliases: Collection[str]) -> dict[str, str]:
    """The rooms that these aliases point at; unknown aliases are left out."""
    return dict(
        tx.all(f"SELECT alias, room_id FROM room_alias WHERE {tx.any('alias')}", [tx.array(aliases)])
    )


def remove_alias(tx: Transaction, alias: str) -> bool:
    return tx.execute("DELETE FROM room_alias WHERE alias = ?", [alias]) > 0


def aliases_of(tx: Transaction, room_id: str) -> list[str]:
    """In the order in which they were made."""
    rows = tx.all("SELECT alias FROM room_alias WHERE room_id = ? ORDER BY created_ts, alias", [room_id])
    return [alias for (alias,) in rows]


def move(tx: Transaction, room_id: str, to: str) -> None:
    """Aliases, and what is published, go over to another room."""
    tx.execute("UPDATE room_alias SET room_id = ? WHERE room_id = ?", [to, room_id])
    networks = tx.all("SELECT network FROM published_room WHERE room_id = ?", [room_id])
    for (network,) in networks:
        unpublish(tx, room_id, network)
        publish(tx, to, network)


def publish(tx: Transaction, room_id: str, network: str = OWN) -> None:
    tx.insert("published_room", ("room_id", "network"), [(room_id, network)], "ON CONFLICT DO NOTHING")
    tx.announce("directory", data=Published(room_id, network, True))


def unpublish(tx: Transaction, room_id: str, network: str = OWN) -> None:
    if tx.execute("DELETE FROM published_room WHERE room_id = ? AND network = ?", [room_id, network]):
        tx.announce("directory", data=Published(room_id, network, False))


def is_published(tx: Transaction, room_id: str) -> bool:
    found = tx.value(
        "SELECT count(*) FROM published_room WHERE room_id = ? AND network = ?", [room_id, OWN]
    )
    return bool(found)


def published_among(tx: Transaction, room_ids: Collection[str]) -> set[str]:
    if not room_ids:
        return set()
    sql = f"SELECT room_id FROM published_room WHERE {tx.any('room_id')} AND network = ?"
    return {room_id for (room_id,) in tx.all(sql, [tx.array(room_ids), OWN])}


def published(tx: Transaction) -> list[tuple[str, str]]:
    """(room, network) of everything published."""
    return [(room_id, network) for room_id, network in tx.all("SELECT room_id, network FROM published_room")]


def joined_counts(tx: Transaction, room_ids: Collection[str]) -> dict[str, int]:
    """The joined members of each room that has any."""
    rows = tx.all(
        "SELECT room_id, count(*) FROM membership"
        f" WHERE {tx.any('room_id')} AND membership = 'join' GROUP BY room_id",
        [tx.array(room_ids)],
    )
    return {room_id: int(count) for room_id, count in rows}


def current_snapshots(tx: Transaction, room_ids: Collection[str]) -> dict[str, tuple[int, int]]:
    """room ID -> (the room's number, the snapshot of its current state)."""
    rows = tx.all(
        f"SELECT room_id, nid, snapshot FROM room WHERE {tx.any('room_id')} AND snapshot IS NOT NULL",
        [tx.array(room_ids)],
    )
    return {room_id: (nid, snapshot) for room_id, nid, snapshot in rows}
