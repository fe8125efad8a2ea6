"""Rule 5.4.1: an invite that redeems a third-party invite.

The identity server signed `{mxid, token}` with a key that the m.room.third_party_invite event names; that
signature, not the inviter's presence in the room, is what allows the invite.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from homeserver.protocol.auth_rules.errors import AuthError
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.signing import VerifyKey, json_bytes, signatures_of


def check_third_party_invite(
    event: Event, target: str, target_membership: str, state: Mapping[StateKey, Event]
) -> None:
    if target_membership == "ban":
        raise AuthError(f"{target} is banned.")
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    if not isinstance(signed, dict):
        raise AuthError("The third-party invite is not signed.")
    mxid, token = signed.get("mxid"), signed.get("token")
    if mxid is None or not isinstance(token, str):
        raise AuthError("The third-party invite names no user or no token.")
    if mxid != target:
        raise AuthError("The third-party invite is for another user.")
    third_party = state.get(("m.room.third_party_invite", token))
    if third_party is None:
        raise AuthError("There is no such third-party invite in the room.")
    if third_party.sender != event.sender:
        raise AuthError("The third-party invite was sent by another user.")
    if not keys_that_signed(signed, third_party.content):
        raise AuthError("The third-party invite has no valid signature.")


def keys_that_signed(signed: Mapping[str, Any], content: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Of the keys that the event's content names; each with the URL that tells whether it still counts."""
    try:
        message = json_bytes(signed)
    except NotCanonical:
        return []
    signatures = signed.get("signatures")
    found = []
    for server in signatures if isinstance(signatures, dict) else ():
        for key_id, signature in signatures_of(signed, server).items():
            for text, validity_url in _public_keys(content):
                try:
                    key = VerifyKey.decode(key_id, text)
                except ValueError:
                    continue
                if key.verifies(message, signature):
                    found.append((text, validity_url))
    return found


def _public_keys(content: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    listed = content.get("public_keys")
    for entry in [content, *(listed if isinstance(listed, list) else ())]:
        key = entry.get("public_key") if isinstance(entry, dict) else None
        if isinstance(key, str):
            url = entry.get("key_validity_url")
            yield key, url if isinstance(url, str) else None
