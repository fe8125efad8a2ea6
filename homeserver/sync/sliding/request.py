"""What a sliding sync asks for, whichever of its two forms it came in.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeserver.sync.sliding.required_state import Wish
from homeserver.sync.tokens import SlidingToken, StreamToken

MOST_EVENTS = 100
"""No timeline is longer, whatever its limit says."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer is worded: the accepted form, and the one that clients used before it.

    `subscriptions`: how many there may be. Older clients add one for each room they have ever shown.
    """

    expanded: str
    stripped: str
    counts: bool
    stubs: bool
    subscriptions: int


ACCEPTED = Form("expanded_timeline", "stripped_state", counts=False, stubs=True, subscriptions=100)
UNSTABLE = Form("unstable_expanded_timeline", "invite_state", counts=True, stubs=False, subscriptions=1_000)


@dataclass(frozen=True, slots=True)
class RoomConfig:
    timeline_limit: int
    required: Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFilters:
    """None: does not matter. The `not_` ones win."""

    is_dm: bool | None = None
    spaces: frozenset[str] | None = None
    is_encrypted: bool | None = None
    is_invited: bool | None = None
    room_types: frozenset[str | None] | None = None
    not_room_types: frozenset[str | None] = frozenset()
    tags: frozenset[str] | None = None
    not_tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ListConfig:
    """`ranges` are inclusive; None: all rooms."""

    config: RoomConfig
    filters: RoomFilters
    ranges: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The rooms an extension is asked for: those of some lists and some subscriptions (None: all)."""

    lists: frozenset[str] | None = None
    rooms: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """Empty for everything."""
        if self.lists is None and self.rooms is None:
            return ""
        return repr((_sorted(self.lists), _sorted(self.rooms)))


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return sorted(names) if names is not None else None


THREAD_SUBSCRIPTIONS = "thread_subscriptions"


@dataclass(frozen=True, slots=True)
class ToDeviceRequest:
    since: StreamToken | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """Those that are asked for."""

    to_device: ToDeviceRequest | None = None
    e2ee: bool = False
    account_data: Scope | None = None
    receipts: Scope | None = None
    typing: Scope | None = None
    thread_subscriptions: int = 0
    """How many changes at most; 0: not asked for."""

    @property
    def kept(self) -> frozenset[str]:
        """Those with a memory of what was sent, with the rooms they are for."""
        scopes = (("account_data", self.account_data), ("receipts", self.receipts), ("typing", self.typing))
        names = [f"{name} {scope.name}" for name, scope in scopes if scope is not None]
        return frozenset(names + [THREAD_SUBSCRIPTIONS] * bool(self.thread_subscriptions))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingRequest:
    user_id: str
    device_id: str
    form: Form
    conn_id: str = ""
    pos: SlidingToken | None = None
    timeout_ms: int = 0
    lists: Mapping[str, ListConfig] = field(default_factory=dict)
    subscriptions: Mapping[str, RoomConfig] = field(default_factory=dict)
    extensions: Extensions = Extensions()

    def asks_like(self, other: "SlidingRequest") -> bool:
        """Whether only the position may be another."""
        return (
            self.form == other.form
            and self.lists == other.lists
            and self.subscriptions == other.subscriptions
            and self.extensions.kept == other.extensions.kept
        )
