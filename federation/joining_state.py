"""What a joining server is sent of the room: its state before the join, and what authorises all that.

https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid

With `omit_members` a room of ten thousand members is answered with a few dozen events: the members stay
away but for those that a room without a name is called after.
"""

from federation import served
from homeserver.protocol.events import Event
from homeserver.protocol.ids import server_of
from homeserver.rooms.head import MEMBER
from storage import snapshots
from storage.auth_chains import auth_chain
from storage.snapshots import StateEntry
from storage.state_events import by_number
from storage.transaction import Transaction

MOST_HEROES = 5
_NAMES = (("m.room.name", ""), ("m.room.canonical_alias", ""))
State = dict[tuple[str, str], StateEntry]


def answer(
    tx: Transaction, room: int, join: Event, snapshot: int | None, origin: str, omit_members: bool
) -> bytes:
    """`snapshot`: the state before the join."""
    state = snapshots.read(tx, snapshot) if snapshot is not None else {}
    kept = _without_members(state, join.state_key) if omit_members else list(state.values())
    events = by_number(tx, [entry.nid for entry in kept])
    chain = auth_chain(
        tx,
        room,
        [*events.values(), join.json],
        join.version.hashed_event_ids,
        without=events if omit_members else (),
    )
    return served.answer(
        origin=served.encode(origin),
        state=served.array(events.values()),
        auth_chain=served.array(chain.values()),
        event=join.json,
        members_omitted=served.encode(len(kept) < len(state)),
        servers_in_room=served.encode(_servers(state)),
    )


def _without_members(state: State, joining: str | None) -> list[StateEntry]:
    kept = [entry for (type, _), entry in state.items() if type != MEMBER]
    if not any(key in state for key in _NAMES):
        kept += _heroes(state, joining)
    return kept


def _heroes(state: State, joining: str | None) -> list[StateEntry]:
    """Those the room is called after, the first to come first; those who left where nobody is there."""
    others = [entry for (type, user), entry in state.items() if type == MEMBER and user != joining]
    there = [entry for entry in others if entry.membership in ("join", "invite")]
    return sorted(there or others)[:MOST_HEROES]


def _servers(state: State) -> list[str]:
    joined = [user for (type, user), entry in state.items() if type == MEMBER and entry.membership == "join"]
    return list(dict.fromkeys(server_of(user) for user in joined))
