"""Redaction: an event reduced to what the protocol itself needs.

https://spec.matrix.org/v1.19/client-server-api/#redactions

Signatures and event IDs cover the *redacted* form, so that a redacted event still verifies and keeps its
ID. Which keys stay is the room version's table; `unsigned` never stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeserver.protocol.room_versions import RoomVersion

if TYPE_CHECKING:
    from homeserver.protocol.events import Event


def redact(pdu: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    """A redacted shallow copy; `pdu` itself is left alone."""
    keep = version.redaction_keys
    redacted = {key: value for key, value in pdu.items() if key in keep}
    content = pdu.get("content")
    if content:
        redacted["content"] = redact_content(pdu["type"], content, version)
    return redacted


def redact_content(event_type: str, content: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    keep = version.redaction_content.get(event_type, frozenset())
    if keep is None:
        return content
    kept = {key: value for key, value in content.items() if key in keep}
    if version.redaction_keeps_signed and event_type == "m.room.member":
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            kept["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
    return kept


def redact_event(event: Event) -> Event:
    """The same event (ID, hashes and signatures included), redacted."""
    return event.with_pdu(redact(event.pdu, event.version))
