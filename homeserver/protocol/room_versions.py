"""The twelve room versions, each a frozen set of rules written as its change from the one before.

https://spec.matrix.org/v1.19/rooms/

No other module compares version numbers: it asks a field here. Redaction and the join rules are tables
for the same reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

KeptContent = Mapping[str, frozenset[str] | None]
"""Event type → the content keys a redaction keeps; None keeps all of them."""


def _kept(table: dict[str, frozenset[str] | None]) -> KeptContent:
    return MappingProxyType(table)


@dataclass(frozen=True, slots=True, eq=False)
class RoomVersion:
    id: str

    # The event format
    hashed_event_ids: bool
    """The event ID is the reference hash; else the sender made it up and it stands in the event."""
    url_safe_event_ids: bool
    room_id_is_create_id: bool
    """The room ID is the create event's ID; that event has no `room_id` and is nobody's auth event."""
    strict_json: bool
    """Canonical JSON is enforced: no floats, integers within ±(2^53 - 1)."""
    strict_byte_limits: bool
    """The 255 limits count bytes; before, Unicode code points."""
    max_depth: int
    enforce_key_validity: bool
    """A signature counts only while its key was valid (`valid_until_ts`) at `origin_server_ts`."""

    # Redaction
    redaction_keys: frozenset[str]
    redaction_content: KeptContent
    redaction_keeps_signed: bool
    """Of a member event's `third_party_invite`, `signed` survives."""
    redacts_in_content: bool

    # Authorisation
    aliases_by_domain: bool
    """m.room.aliases is governed by its state key's domain alone."""
    redaction_by_auth_rules: bool
    """A redaction needs the redact level or the same domain to be *allowed*, not only to be applied."""
    notification_levels: bool
    integer_power_levels: bool
    float_power_levels: bool
    creator_is_sender: bool
    """The creator is the create event's sender; before, `content.creator`."""
    creators_outrank_all: bool
    """Creators (with `additional_creators`) have unlimited power and stand in no power levels event."""
    invite_join_rules: frozenset[str]
    """Join rules under which an invited user may join."""
    restricted_join_rules: frozenset[str]
    """… and under which a joined member's server may vouch for the joining user."""
    knock_join_rules: frozenset[str]

    state_resolution: Literal["v1", "v2", "v2.1"]

    def __repr__(self) -> str:
        return f"<RoomVersion {self.id}>"

    def is_restricted(self, join_rules: Mapping[str, Any]) -> bool:
        """Whether such content, which may hold anything, has a member's server vouch for who joins."""
        rule = join_rules.get("join_rule")
        return isinstance(rule, str) and rule in self.restricted_join_rules


V1 = RoomVersion(
    id="1",
    hashed_event_ids=False,
    url_safe_event_ids=False,
    room_id_is_create_id=False,
    strict_json=False,
    strict_byte_limits=False,
    max_depth=2**63 - 1,
    enforce_key_validity=False,
    redaction_keys=frozenset(
        {
            "event_id",
            "type",
            "room_id",
            "sender",
            "state_key",
            "content",
            "hashes",
            "signatures",
            "depth",
            "prev_events",
            "prev_state",
            "auth_events",
            "origin",
            "origin_server_ts",
            "membership",
        }
    ),
    redaction_content=_kept(
        {
            "m.room.member": frozenset({"membership"}),
            "m.room.create": frozenset({"creator"}),
            "m.room.join_rules": frozenset({"join_rule"}),
            "m.room.power_levels": frozenset(
                {
                    "ban",
                    "events",
                    "events_default",
                    "kick",
                    "redact",
                    "state_default",
                    "users",
                    "users_default",
                }
            ),
            "m.room.aliases": frozenset({"aliases"}),
            "m.room.history_visibility": frozenset({"history_visibility"}),
        }
    ),
    redaction_keeps_signed=False,
    redacts_in_content=False,
    aliases_by_domain=True,
    redaction_by_auth_rules=True,
    notification_levels=False,
    integer_power_levels=False,
    float_power_levels=True,
    creator_is_sender=False,
    creators_outrank_all=False,
    invite_join_rules=frozenset({"invite"}),
    restricted_join_rules=frozenset(),
    knock_join_rules=frozenset(),
    state_resolution="v1",
)

V2 = replace(V1, id="2", state_resolution="v2")

V3 = replace(V2, id="3", hashed_event_ids=True, redaction_by_auth_rules=False)

V4 = replace(V3, id="4", url_safe_event_ids=True)

V5 = replace(V4, id="5", enforce_key_validity=True)

V6 = replace(
    V5,
    id="6",
    strict_json=True,
    max_depth=2**53 - 1,
    redaction_content=_kept({k: v for k, v in V5.redaction_content.items() if k != "m.room.aliases"}),
    aliases_by_domain=False,
    notification_levels=True,
    float_power_levels=False,
)

V7 = replace(
    V6,
    id="7",
    invite_join_rules=frozenset({"invite", "knock"}),
    knock_join_rules=frozenset({"knock"}),
)

V8 = replace(
    V7,
    id="8",
    redaction_content=_kept({**V7.redaction_content, "m.room.join_rules": frozenset({"join_rule", "allow"})}),
    invite_join_rules=frozenset({"invite", "knock", "restricted"}),
    restricted_join_rules=frozenset({"restricted"}),
)

V9 = replace(
    V8,
    id="9",
    redaction_content=_kept(
        {
            **V8.redaction_content,
            "m.room.member": frozenset({"membership", "join_authorised_via_users_server"}),
        }
    ),
)

V10 = replace(
    V9,
    id="10",
    integer_power_levels=True,
    invite_join_rules=frozenset({"invite", "knock", "restricted", "knock_restricted"}),
    restricted_join_rules=frozenset({"restricted", "knock_restricted"}),
    knock_join_rules=frozenset({"knock", "knock_restricted"}),
)

V11 = replace(
    V10,
    id="11",
    strict_byte_limits=True,
    redaction_keys=V10.redaction_keys - {"origin", "membership", "prev_state"},
    redaction_content=_kept(
        {
            **V10.redaction_content,
            "m.room.create": None,
            "m.room.power_levels": (V10.redaction_content["m.room.power_levels"] or frozenset()) | {"invite"},
            "m.room.redaction": frozenset({"redacts"}),
        }
    ),
    redaction_keeps_signed=True,
    redacts_in_content=True,
    creator_is_sender=True,
)

V12 = replace(
    V11,
    id="12",
    room_id_is_create_id=True,
    creators_outrank_all=True,
    state_resolution="v2.1",
)

ROOM_VERSIONS: dict[str, RoomVersion] = {
    version.id: version for version in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)
}

DEFAULT_ROOM_VERSION = "12"
