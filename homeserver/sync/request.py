"""What a sync asks for, and the answer as it is put together.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from homeserver.sync.filters import Filter
from homeserver.sync.tokens import StreamToken

DEFAULT_TIMELINE_LIMIT = 20


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """`timeout_ms` is how long to wait for news; `since` is None for a first sync.

    `room_ids`: each event names its room. `only_new`: of a room that was joined since, nothing from before.
    """

    user_id: str
    device_id: str
    since: StreamToken | None
    filter: Filter
    timeout_ms: int = 0
    full_state: bool = False
    use_state_after: bool = False
    room_ids: bool = False
    only_new: bool = False

    @property
    def timeline_limit(self) -> int:
        limit = self.filter.room.timeline.limit
        return DEFAULT_TIMELINE_LIMIT if limit is None else limit

    @property
    def lazy_members(self) -> bool:
        return self.filter.room.state.lazy_load_members


@dataclass(frozen=True, slots=True)
class Window:
    """The news in question: after `since` (None: everything), up to `upto`.

    `memory_from` is from where on news is remembered in memory.
    """

    since: StreamToken | None
    upto: StreamToken
    memory_from: int = 0

    @property
    def is_cold(self) -> bool:
        """Whether it begins before what is remembered of news; then the database is asked for all."""
        return self.after < self.memory_from

    def touches(self, position: int | None) -> bool:
        """Whether the last news at `position` (None: none since the start) may lie in the window."""
        return self.is_cold or (position is not None and position > self.after)

    @property
    def after(self) -> int:
        return self.since.position if self.since is not None else 0

    @property
    def after_ephemeral(self) -> int:
        return self.since.ephemeral if self.since is not None else 0


@dataclass(slots=True)
class Answer:
    """The parts of a response that have something in them."""

    join: dict[str, dict[str, Any]] = field(default_factory=dict)
    invite: dict[str, dict[str, Any]] = field(default_factory=dict)
    knock: dict[str, dict[str, Any]] = field(default_factory=dict)
    leave: dict[str, dict[str, Any]] = field(default_factory=dict)
    account_data: list[dict[str, Any]] = field(default_factory=list)
    presence: list[dict[str, Any]] = field(default_factory=list)
    to_device: list[orjson.Fragment] = field(default_factory=list)
    device_lists: dict[str, list[str]] = field(default_factory=dict)
    key_counts_changed: bool = False

    def is_empty(self) -> bool:
        return not (
            self.join
            or self.invite
            or self.knock
            or self.leave
            or self.account_data
            or self.presence
            or self.to_device
            or self.device_lists
            or self.key_counts_changed
        )

    def encode(self, next_batch: StreamToken, counts: dict[str, int], fallback: list[str]) -> bytes:
        body: dict[str, Any] = {
            "next_batch": str(next_batch),
            "device_one_time_keys_count": counts,
            "device_unused_fallback_key_types": fallback,
            "org.matrix.msc2732.device_unused_fallback_key_types": fallback,
        }
        rooms = {
            name: part
            for name, part in (
                ("join", self.join),
                ("invite", self.invite),
                ("knock", self.knock),
                ("leave", self.leave),
            )
            if part
        }
        if rooms:
            body["rooms"] = rooms
        for name, events in (
            ("account_data", self.account_data),
            ("presence", self.presence),
            ("to_device", self.to_device),
        ):
            if events:
                body[name] = {"events": events}
        if self.device_lists:
            body["device_lists"] = self.device_lists
        return orjson.dumps(body)
