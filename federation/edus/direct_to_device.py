"""m.direct_to_device: messages for devices of our users.

https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

from typing import Any

import msgspec

from federation.edus.reading import InvalidEdu, Recipients, is_text, read, require_user_of

MAX_MESSAGES = 1000


class Content(msgspec.Struct):
    sender: str
    type: str
    message_id: str
    messages: dict[str, dict[str, dict[str, Any]]]


async def receive(here: Recipients, origin: str, content: dict[str, Any]) -> None:
    edu = read(content, Content)
    require_user_of(origin, edu.sender)
    if not is_text(edu.type) or not is_text(edu.message_id):
        raise InvalidEdu("The type or message_id is too long.")
    if sum(len(by_device) for by_device in edu.messages.values()) > MAX_MESSAGES:
        raise InvalidEdu("These are too many messages.")
    await here.to_device.receive(edu.sender, edu.type, edu.messages, origin, edu.message_id)
