"""The object graph's shape: what an endpoint can reach. `homeserver.app.wiring` builds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.accounts.account_data import AccountData
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.openid import OpenIdTokens
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.registration_tokens import RegistrationTokens
from homeserver.accounts.rendezvous import Rendezvous
from homeserver.accounts.shared_secret import SharedSecret
from homeserver.accounts.tags import Tags
from homeserver.accounts.tokens import Tokens
from homeserver.accounts.uia import Uia
from homeserver.clock import Clock
from homeserver.devices.cross_signing import CrossSigning
from homeserver.devices.dehydrated import DehydratedDevices
from homeserver.devices.device_lists import DeviceLists
from homeserver.devices.devices import Devices
from homeserver.devices.key_backup import KeyBackup
from homeserver.devices.keys import DeviceKeys
from homeserver.devices.one_time_keys import OneTimeKeys
from homeserver.devices.remote_lists import RemoteLists
from homeserver.devices.signature_upload import SignatureUpload
from homeserver.devices.to_device import ToDevice
from homeserver.push.notifications import Notifications
from homeserver.push.rules import PushRules
from homeserver.push.thread_subscriptions import Subscribers, ThreadSubscriptions
from homeserver.push.unread import Unread
from homeserver.rooms.aggregations import Aggregations
from homeserver.rooms.delayed_events import DelayedEvents
from homeserver.rooms.directory import Directory
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.hierarchy import Hierarchy
from homeserver.rooms.history import History
from homeserver.rooms.incoming import Incoming
from homeserver.rooms.public_rooms import PublicRooms
from homeserver.rooms.relations import Relations
from homeserver.rooms.reports import Reports
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.serialize import Serializer
from homeserver.rooms.server_notices import ServerNotices
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from homeserver.rooms.unheard_leaves import UnheardLeaves
from homeserver.rooms.upgrade import Upgrades
from homeserver.search.index import SearchIndex
from homeserver.search.people import UserDirectory
from homeserver.search.service import Search
from homeserver.sync.filters import Filters
from homeserver.sync.notifier import Notifier
from homeserver.sync.old_sync import OldSync
from homeserver.sync.presence import Presence
from homeserver.sync.receipts import Receipts
from homeserver.sync.service import Sync
from homeserver.sync.sliding.service import SlidingSync
from homeserver.sync.typing import Typing
from storage.database import Database


@dataclass(frozen=True, slots=True)
class Turn:
    """The TURN servers, and how people prove to them that they belong here."""

    uris: Sequence[str] = ()
    shared_secret: str | None = None
    username: str | None = None
    password: str | None = None
    user_lifetime_ms: int = 3_600_000
    allow_guests: bool = True


@dataclass(frozen=True, slots=True)
class PublicFacts:
    """What the server tells about itself."""

    server_name: str
    default_room_version: str
    public_baseurl: str | None = None
    extra_well_known_client_content: Mapping[str, Any] = field(default_factory=dict)
    allow_public_rooms_without_auth: bool = False
    require_auth_for_profile_requests: bool = False
    forget_rooms_on_leave: bool = False
    max_event_delay_ms: int | None = None
    well_known_support: Mapping[str, Any] = field(default_factory=dict)
    policy_server_public_keys: Mapping[str, str] = field(default_factory=dict)
    turn: Turn = Turn()
    rtc_transports: Sequence[Mapping[str, Any]] = ()


@dataclass(slots=True)
class Server:
    config: PublicFacts
    clock: Clock
    db: Database
    # people
    accounts: Accounts
    tokens: Tokens
    uia: Uia
    deactivation: Deactivation
    registration_tokens: RegistrationTokens
    shared_secret: SharedSecret
    profiles: Profiles
    account_data: AccountData
    tags: Tags
    filters: Filters
    openid: OpenIdTokens
    rendezvous: Rendezvous
    # devices
    devices: Devices
    device_keys: DeviceKeys
    dehydrated_devices: DehydratedDevices
    one_time_keys: OneTimeKeys
    cross_signing: CrossSigning
    signatures: SignatureUpload
    key_backup: KeyBackup
    to_device: ToDevice
    device_lists: DeviceLists
    remote_lists: RemoteLists
    # rooms
    events: EventStore
    rooms: Rooms
    incoming: Incoming
    unheard_leaves: UnheardLeaves
    third_party_invites: ThirdPartyInvites
    upgrades: Upgrades
    hierarchy: Hierarchy
    history: History
    delayed_events: DelayedEvents
    relations: Relations
    aggregations: Aggregations
    reports: Reports
    serializer: Serializer
    server_notices: ServerNotices | None
    directory: Directory
    public_rooms: PublicRooms
    # finding; None if the server's owner does not want it
    search_index: SearchIndex | None
    search: Search | None
    user_directory: UserDirectory | None
    # what is new
    notifier: Notifier
    sync: Sync
    sliding_sync: SlidingSync
    old_sync: OldSync
    receipts: Receipts
    typing: Typing
    presence: Presence
    push_rules: PushRules
    subscribers: Subscribers
    thread_subscriptions: ThreadSubscriptions
    unread: Unread
    notifications: Notifications
    # other servers: a `federation.federation.Federation` and `federation.sender.Sender`, which nothing down
    # here may know
    federation: Any
    sender: Any

    @property
    def keyring(self) -> Any:
        return self.federation.keyring

    @property
    def federation_client(self) -> Any:
        return self.federation.client
