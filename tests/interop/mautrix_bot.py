"""A bot made with mautrix-python: joins where it is invited, and describes the room to who says `!describe`.

python mautrix_bot.py URL USER_ID TOKEN
"""

import asyncio
import json
import sys
from typing import Any

from mautrix.client import Client, InternalEventType
from mautrix.client.dispatcher import MembershipEventDispatcher
from mautrix.types import EventType, MessageType, StateEvent, TextMessageEventContent


async def main(url: str, user_id: str, token: str) -> None:
    client: Any = Client(mxid=user_id, base_url=url, token=token)
    client.ignore_initial_sync = False

    async def join(event: StateEvent) -> None:
        await client.join_room(event.room_id)

    async def describe(event: Any) -> None:
        if event.content.body != "!describe":
            return
        room_id = event.room_id
        levels = await client.get_state_event(room_id, EventType.ROOM_POWER_LEVELS)
        state = await client.get_state(room_id)
        answer = {
            "name": (await client.get_state_event(room_id, EventType.ROOM_NAME)).name,
            "members": sorted(await client.get_joined_members(room_id)),
            "may_kick": levels.get_user_level(event.sender) >= levels.kick,
            "creations": sum(one.type == EventType.ROOM_CREATE for one in state),
        }
        content = TextMessageEventContent(msgtype=MessageType.NOTICE, body=json.dumps(answer))
        content.set_reply(event)
        await client.send_message(room_id, content)

    client.add_dispatcher(MembershipEventDispatcher)
    client.add_event_handler(InternalEventType.INVITE, join)
    client.add_event_handler(EventType.ROOM_MESSAGE, describe)
    await client.start(None)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
