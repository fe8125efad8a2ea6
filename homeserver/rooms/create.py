"""Creating a room: the events in their order, the presets, and what each option overrides.

The whole room is one draft and one commit: if any event breaks a rule there is no room.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.errors import BadJson, Forbidden, InvalidParam, InvalidRoomState, UnsupportedRoomVersion
from homeserver.protocol.ids import is_valid_user_id
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.rooms.head import MEMBER, Draft, Proposal

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StateToSet:
    type: str
    content: Content
    state_key: str = ""


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """The body of createRoom, checked for its types only."""

    visibility: str = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: Sequence[str] = ()
    room_version: str | None = None
    creation_content: Content = field(default_factory=dict)
    initial_state: Sequence[StateToSet] = ()
    preset: str | None = None
    is_direct: bool = False
    power_level_content_override: Content = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preset:
    join_rule: str
    history_visibility: str
    guest_access: str
    invite_level: int
    invitees_are_equals: bool = False


PRESETS = {
    "private_chat": Preset("invite", "shared", "can_join", 0),
    "trusted_private_chat": Preset("invite", "shared", "can_join", 0, invitees_are_equals=True),
    "public_chat": Preset("public", "shared", "forbidden", 50),
}

ENCRYPTED = {"off": frozenset[str](), "invite": PRESETS.keys() - {"public_chat"}, "all": PRESETS.keys()}
"""The presets whose rooms are encrypted unasked, by what the operator may say."""

EVENT_LEVELS = {
    "m.room.name": 50,
    "m.room.avatar": 50,
    "m.room.canonical_alias": 50,
    "m.room.power_levels": 100,
    "m.room.history_visibility": 100,
    "m.room.encryption": 100,
    "m.room.server_acl": 100,
    "m.room.tombstone": 100,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked request: who creates what, and the profiles to show of local users, who are all in there.

    `encrypted`: even if the request does not say so.
    """

    creator: str
    options: CreateOptions
    version: RoomVersion
    preset: Preset
    profiles: Mapping[str, Content]
    alias: str | None
    encrypted: bool = False

    def build(self, draft: Draft) -> None:
        """Adds the room's first events. Raises InvalidRoomState where a rule forbids one."""
        try:
            for proposal in self._proposals():
                draft.add(proposal)
        except Forbidden as error:
            raise InvalidRoomState(f"These options do not make a valid room: {error.message}") from None

    def _proposals(self) -> list[Proposal]:
        options = self.options
        given = {(state.type, state.state_key): state.content for state in options.initial_state}
        proposals = [
            self._state("m.room.create", self._create_content()),
            self._state(MEMBER, {"membership": "join", **self.profiles.get(self.creator, {})}, self.creator),
            self._state(
                "m.room.power_levels", given.pop(("m.room.power_levels", ""), {}) or self._power_levels()
            ),
        ]
        if self.alias is not None:
            proposals.append(self._state("m.room.canonical_alias", {"alias": self.alias}))
        preset = self.preset
        for type, content in (
            ("m.room.join_rules", {"join_rule": preset.join_rule}),
            ("m.room.history_visibility", {"history_visibility": preset.history_visibility}),
            ("m.room.guest_access", {"guest_access": preset.guest_access}),
        ):
            if (type, "") not in given:
                proposals.append(self._state(type, content))
        if self.encrypted and ("m.room.encryption", "") not in given:
            proposals.append(self._state("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}))
        proposals.extend(self._state(type, content, key) for (type, key), content in given.items())
        if options.name is not None:
            proposals.append(self._state("m.room.name", {"name": options.name}))
        if options.topic is not None:
            proposals.append(self._state("m.room.topic", topic_content(options.topic)))
        proposals.extend(
            self._state(MEMBER, content, user_id)
            for user_id, content in self._invites()
            if user_id in self.profiles
        )
        return proposals

    @property
    def invites_elsewhere(self) -> list[tuple[str, Content]]:
        """Invites that other servers must agree to: they follow when the room is there."""
        return [(user_id, content) for user_id, content in self._invites() if user_id not in self.profiles]

    def _invites(self) -> Iterator[tuple[str, Content]]:
        for user_id in dict.fromkeys(self.options.invite):
            invite: Content = {"membership": "invite", **self.profiles.get(user_id, {})}
            if self.options.is_direct:
                invite["is_direct"] = True
            yield user_id, invite

    def _state(self, type: str, content: Content, state_key: str = "") -> Proposal:
        return Proposal(type, self.creator, content, state_key)

    def _create_content(self) -> Content:
        content = {**self.options.creation_content, "room_version": self.version.id}
        content.pop("creator", None)
        if not self.version.creator_is_sender:
            content["creator"] = self.creator
        if self.version.creators_outrank_all:
            content.update(self._additional_creators(content.get("additional_creators", [])))
        return content

    def _additional_creators(self, given: Any) -> Content:
        if not isinstance(given, list) or not all(
            isinstance(user_id, str) and is_valid_user_id(user_id) for user_id in given
        ):
            raise InvalidParam("additional_creators is a list of user IDs.")
        invitees = self.options.invite if self.preset.invitees_are_equals else ()
        creators = [user_id for user_id in dict.fromkeys([*given, *invitees]) if user_id != self.creator]
        return {"additional_creators": creators} if creators else {}

    def _power_levels(self) -> Content:
        events = dict(EVENT_LEVELS)
        users: dict[str, int] = {}
        if self.version.creators_outrank_all:
            events["m.room.tombstone"] = 150
        else:
            users[self.creator] = 100
            if self.preset.invitees_are_equals:
                users.update(dict.fromkeys(self.options.invite, 100))
        content: Content = {
            "users": users,
            "users_default": 0,
            "events": events,
            "events_default": 0,
            "state_default": 50,
            "ban": 50,
            "kick": 50,
            "redact": 50,
            "invite": self.preset.invite_level,
            "notifications": {"room": 50},
        }
        return {**content, **self.options.power_level_content_override}


def topic_content(topic: str) -> Content:
    return {"topic": topic, "m.topic": {"m.text": [{"body": topic}]}}


def plan(
    creator: str,
    options: CreateOptions,
    default_version: str,
    profiles: Mapping[str, Content],
    alias: str | None,
    encrypted: Collection[str] = (),
) -> Plan:
    """Checks what needs no database; `encrypted` are the presets whose rooms are encrypted unasked.

    Raises UnsupportedRoomVersion, InvalidParam, BadJson.
    """
    version = ROOM_VERSIONS.get(default_version if options.room_version is None else options.room_version)
    if version is None:
        raise UnsupportedRoomVersion("This server does not support that room version.")
    if options.visibility not in ("public", "private"):
        raise InvalidParam("visibility is public or private.")
    name = options.preset or ("public_chat" if options.visibility == "public" else "private_chat")
    preset = PRESETS.get(name)
    if preset is None:
        raise InvalidParam("Unknown preset.")
    for user_id in options.invite:
        if not is_valid_user_id(user_id):
            raise InvalidParam(f"{user_id!r} is not a user ID.")
    if not isinstance(options.creation_content.get("m.federate", True), bool):
        raise BadJson("m.federate is true or false.")
    planned = Plan(creator, options, version, preset, profiles, alias, name in encrypted)
    if planned.invites_elsewhere and options.creation_content.get("m.federate") is False:
        raise Forbidden("This room is for users of its own server only.")
    return planned
