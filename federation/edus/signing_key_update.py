"""m.signing_key_update: a remote user has new cross-signing keys.

https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption

Servers also send it as org.matrix.signing_key_update, its name before it was specified; the second of the
two changes nothing.
"""

from typing import Any

import msgspec

from federation.edus.reading import Recipients, read, require_user_of
from homeserver.devices.remote_keys import cross_signing_key


class Content(msgspec.Struct):
    user_id: str
    master_key: dict[str, Any] | None = None
    self_signing_key: dict[str, Any] | None = None


async def receive(here: Recipients, origin: str, content: dict[str, Any]) -> None:
    edu = read(content, Content)
    require_user_of(origin, edu.user_id)
    given = {"master": edu.master_key, "self_signing": edu.self_signing_key}
    keys = {
        usage: parsed
        for usage, key in given.items()
        if key is not None and (parsed := cross_signing_key(edu.user_id, usage, key)) is not None
    }
    if keys:
        await here.device_lists.update_signing_keys(edu.user_id, keys)
