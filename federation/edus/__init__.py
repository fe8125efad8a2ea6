"""EDUs: what servers tell each other beside the events of rooms. One file for each type.

https://spec.matrix.org/v1.19/server-server-api/#edus

Each handler takes an EDU's content, which is anything a remote may have written, and either does what it
asks or raises: InvalidEdu, or the MatrixError of the service that refused it. Nobody is told of a refusal;
an EDU of a type that is not listed here does nothing.

Handlers of one transaction run side by side, and each submits its write before it awaits anything else
wherever the order of EDUs matters: the writer takes them in the order in which they came.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from federation.edus import (
    device_list_update,
    direct_to_device,
    presence,
    receipt,
    signing_key_update,
    typing,
)
from federation.edus.reading import InvalidEdu as InvalidEdu
from federation.edus.reading import Recipients as Recipients

Handler = Callable[[Recipients, str, dict[str, Any]], Awaitable[None]]
"""(who is told, the server that sent it, the content)"""

FOR_DEVICES: Mapping[str, Handler] = {
    "m.direct_to_device": direct_to_device.receive,
    "m.device_list_update": device_list_update.receive,
    "m.signing_key_update": signing_key_update.receive,
    "org.matrix.signing_key_update": signing_key_update.receive,
}
"""These wait for no room."""

IN_ROOMS: Mapping[str, Handler] = {
    "m.typing": typing.receive,
    "m.receipt": receipt.receive,
    "m.presence": presence.receive,
}
"""These are about the events that come in the same transaction, and are taken after them."""
