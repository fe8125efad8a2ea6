"""m.presence: which remote users are online.

https://spec.matrix.org/v1.19/server-server-api/#presence

Only of users who share a room with us: nobody else could see it.
"""

from typing import Any

import msgspec

from federation.edus.reading import InvalidEdu, Recipients, is_user_of, read
from homeserver.sync.presence import STATES

MAX_UPDATES = 500


class Push(msgspec.Struct):
    push: list[Any]


class Update(msgspec.Struct):
    user_id: str
    presence: str
    status_msg: str | None = None
    last_active_ago: int | None = None
    currently_active: bool | None = None


async def receive(here: Recipients, origin: str, content: dict[str, Any]) -> None:
    given = read(content, Push).push
    if not here.presence.enabled:
        return
    for each in given[:MAX_UPDATES]:
        try:
            update = read(each, Update)
        except InvalidEdu:
            continue  # the other updates are as good as before
        user_id = update.user_id
        if update.presence not in STATES or not is_user_of(origin, user_id):
            continue
        if not await here.device_lists.shares_room(user_id):
            continue
        here.presence.receive(
            user_id,
            update.presence,
            update.status_msg,
            update.last_active_ago,
            bool(update.currently_active),
        )
