"""Auth chains of stored events, in both forms of references."""

from typing import Any

import orjson
import pytest

from homeserver.errors import TooLarge
from storage import auth_chains
from storage.auth_chains import auth_chain
from storage.events import COLUMNS
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

ROOM = 7
GRAPH = {1: (), 2: (1,), 3: (1, 2), 4: (1, 2, 3), 5: (1, 4), 6: (3, 99)}


def json_of(nid: int, hashed: bool) -> bytes:
    ids = [f"$e{each}" for each in GRAPH[nid]]
    auth_events: list[Any] = ids if hashed else [[each, {"sha256": "x"}] for each in ids]
    return orjson.dumps({"auth_events": auth_events, "content": {"auth_events": 1}, "type": "m.x"})


def fill(tx: Transaction, hashed: bool) -> None:
    for nid in GRAPH:
        row: dict[str, Any] = {
            "nid": nid, "event_id": f"$e{nid}", "room": ROOM, "depth": nid, "ts": 0, "type": "m.x",
            "sender": "@a:x", "status": 0, "notify": 0, "json": json_of(nid, hashed),
        }
        tx.insert("event", COLUMNS, [[row.get(column) for column in COLUMNS]])


def chain(
    db: SynchronousDatabase, *events: int, room: int = ROOM, hashed: bool = True, **options: Any
) -> dict[str, bytes]:
    start = [json_of(each, hashed) for each in events]
    found: dict[str, bytes] = db.read(lambda tx: auth_chain(tx, room, start, hashed, **options))
    return found


@pytest.mark.parametrize("hashed", [True, False])
def test_the_whole_chain(db: SynchronousDatabase, hashed: bool) -> None:
    db.write(fill, hashed)
    assert sorted(chain(db, 5, hashed=hashed)) == ["$e1", "$e2", "$e3", "$e4"]
    assert chain(db, 2, hashed=hashed) == {"$e1": json_of(1, hashed)}
    assert chain(db, 1, hashed=hashed) == {}
    assert sorted(chain(db, 4, 2, hashed=hashed)) == ["$e1", "$e2", "$e3"]


def test_what_is_left_out(db: SynchronousDatabase) -> None:
    db.write(fill, True)
    assert sorted(chain(db, 5, without=["$e4", "$e1"])) == ["$e2", "$e3"]
    assert sorted(chain(db, 6)) == ["$e1", "$e2", "$e3"], "what nobody knows"
    assert chain(db, 5, room=8) == {}, "what is in another room"


def test_a_chain_is_not_endless(db: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    db.write(fill, True)
    monkeypatch.setattr(auth_chains, "MOST_EVENTS", 3)
    with pytest.raises(TooLarge):
        chain(db, 5)
