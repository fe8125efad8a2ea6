"""The one function that builds the object graph.

The order in which services follow the stream matters and is the order here: rooms and memberships first,
then what is derived from them, and last the notifier, which wakes those who read it all.
"""

from dataclasses import replace
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from federation.edus import Recipients
from federation.query import Queries
from federation.receiver import Receiver
from federation.room_directory import RoomDirectories
from federation.sender import Sender
from federation.space_hierarchy import SpaceHierarchy
from federation.user_keys import UserKeys
from homeserver.accounts.account_data import AccountData
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.openid import OpenIdTokens
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profiles import Edit, Profiles
from homeserver.accounts.registration_tokens import RegistrationTokens
from homeserver.accounts.rendezvous import Rendezvous
from homeserver.accounts.requester import UserLocked, UserSuspended
from homeserver.accounts.shared_secret import SharedSecret
from homeserver.accounts.tags import Tags
from homeserver.accounts.token_cache import TokenCache
from homeserver.accounts.tokens import Tokens
from homeserver.accounts.uia import Uia
from homeserver.accounts.upgraded_rooms import UpgradedRooms
from homeserver.app.config import Config
from homeserver.app.federation_wiring import build_federation
from homeserver.app.settings import account_settings, look_of_notices, public_facts
from homeserver.clock import ReactorClock
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
from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.signing import SigningKey
from homeserver.push.actions import PushActions
from homeserver.push.notifications import Notifications
from homeserver.push.rules import PushRules
from homeserver.push.thread_subscriptions import Subscribers, ThreadSubscriptions
from homeserver.push.unread import Unread
from homeserver.rooms.aggregations import Aggregations
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.create import ENCRYPTED
from homeserver.rooms.delayed_events import DelayedEvents, Standing
from homeserver.rooms.directory import Directory
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.guests import Guests
from homeserver.rooms.head import Identity
from homeserver.rooms.hierarchy import Hierarchy
from homeserver.rooms.history import History
from homeserver.rooms.incoming import Incoming
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.public_rooms import PublicRooms
from homeserver.rooms.registry import Registry
from homeserver.rooms.relations import Relations
from homeserver.rooms.remote_membership import RemoteMembership
from homeserver.rooms.reports import Reports
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.serialize import Serializer
from homeserver.rooms.server_notices import ServerNotices
from homeserver.rooms.sharing import Sharing
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from homeserver.rooms.upgrade import Upgrades
from homeserver.search.index import SearchIndex
from homeserver.search.people import UserDirectory
from homeserver.search.service import Search
from homeserver.server import Server
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.event_format import EventFormat
from homeserver.sync.filters import Filters
from homeserver.sync.joined_room import JoinedRooms
from homeserver.sync.key_counts import KeyCounts
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.left_room import LeftRooms
from homeserver.sync.notifier import Notifier
from homeserver.sync.old_sync import OldSync
from homeserver.sync.people import People
from homeserver.sync.presence import Presence
from homeserver.sync.receipts import Receipts
from homeserver.sync.rooms_part import RoomsPart
from homeserver.sync.service import Sync
from homeserver.sync.sliding.connections import Connections
from homeserver.sync.sliding.extensions import ExtensionsPart
from homeserver.sync.sliding.labels import Labels
from homeserver.sync.sliding.room_facts import RoomFacts
from homeserver.sync.sliding.room_list import RoomList
from homeserver.sync.sliding.rooms import RoomParts
from homeserver.sync.sliding.service import SlidingSync
from homeserver.sync.typing import Typing
from storage import device_lists as device_list_rows
from storage.database import Database
from storage.engines import Engine
from storage.events import StoredEvent


def build(config: Config, engine: Engine, signing_key: SigningKey, reactor: Any, pool: ThreadPool) -> Server:
    """The server, not yet listening. `pool` is where passwords are hashed."""
    name = config.server_name
    clock = ReactorClock(reactor)
    db = Database(engine, reactor)

    async def in_pool(call: Any, *args: Any) -> Any:
        return await deferToThreadPool(reactor, pool, call, *args)

    # other servers
    federation = build_federation(config, db, clock, signing_key, reactor)
    queries = Queries(federation.client)
    user_keys = UserKeys(federation.client)

    notices_user = None
    if config.server_notices is not None:
        notices_user = f"@{config.server_notices.system_mxid_localpart}:{name}"

    # people
    settings = account_settings(config)
    token_cache = TokenCache()
    tokens = Tokens(db, clock, token_cache, settings)
    devices = Devices(db, clock, token_cache)
    accounts = Accounts(
        db, clock, name, settings, Passwords(in_pool, settings.password_policy), tokens, devices
    )
    registration_tokens = RegistrationTokens(db, clock)
    account_data = AccountData(db, heard_by_all=notices_user)
    tags = Tags(db)
    openid = OpenIdTokens(db, clock, name)

    async def show_profile(user_id: str, profile: Any, edit: Edit) -> None:
        presence.show_profile(user_id, profile)
        if edit.to == "all":
            await rooms.update_profile(user_id)
        elif edit.to == "unchanged":
            await rooms.update_profile(user_id, (edit.key, edit.before))

    profiles = Profiles(db, name, on_profile_change=show_profile, remote=queries)

    async def shown_profile(user_id: str) -> dict[str, Any]:
        profile = await profiles.local(user_id)
        return {key: profile[key] for key in ("displayname", "avatar_url") if profile.get(key) is not None}

    # rooms
    memberships = Memberships(db, name, forget_left=config.forget_rooms_on_leave)
    events = EventStore(db, config.event_cache_size)
    push_rules = PushRules(db)
    subscribers = Subscribers(db)
    push_actions = PushActions(
        push_rules, name, memberships.local_members, events.cached, subscribers.of
    )
    identity = Identity(name, signing_key)
    registry = Registry(
        db,
        clock,
        identity,
        events,
        memberships,
        push_actions.of_event,
        policy_servers=federation.policy_servers,
    )
    db.follow(registry.follow)
    db.follow(memberships.follow)
    incoming = Incoming(registry, federation.rooms, name)
    unread = Unread(db, push_rules, account_data.ignored_users)
    directory = Directory(registry, name, queries)
    public_rooms = PublicRooms(db, RoomDirectories(federation.client))
    elsewhere = RemoteMembership(registry, federation.rooms, incoming, federation.whitelist.allows)
    rooms = Rooms(
        db,
        registry,
        shown_profile,
        directory,
        config.default_room_version,
        account_data.blocks_invites,
        elsewhere,
        notices_user,
        ENCRYPTED[config.encryption_enabled_by_default_for_room_type],
    )
    Guests(db, rooms)
    UpgradedRooms(registry, push_rules)
    serializer = Serializer(events, clock)
    backfill = Backfill(registry, federation.rooms, incoming, name)
    history = History(registry, account_data.ignored_users, backfill.down_to, incoming.partial.whole)
    aggregations = Aggregations(db, account_data.ignored_users)

    async def seen_event(room_id: str, user_id: str, event_id: str) -> StoredEvent:
        _, stored, _ = await history.seen_event(room_id, user_id, event_id)
        return stored

    thread_subscriptions = ThreadSubscriptions(db, push_rules, seen_event)

    # finding
    search_index = SearchIndex(db, clock) if config.enable_search else None
    search = None
    if search_index is not None:
        db.follow(search_index.follow)
        search = Search(db, search_index, memberships, history, events, account_data.ignored_users)

    user_directory = None
    if config.user_directory.enabled:
        everybody = config.user_directory.search_all_users
        user_directory = UserDirectory(db, clock, name, search_all_users=everybody)
        db.follow(user_directory.follow)

    async def has_account(user_id: str) -> bool:
        return await accounts.get(user_id) is not None

    async def standing_of(user_id: str) -> Standing:
        account = await accounts.get(user_id)
        refusal: MatrixError | None = None
        if account is None or account.deactivated:
            refusal = Forbidden("This account has been deactivated.", errcode="M_USER_DEACTIVATED")
        elif account.locked:
            refusal = UserLocked()
        elif account.suspended:
            refusal = UserSuspended()
        is_guest, is_admin = (account.is_guest, account.is_admin) if account is not None else (False, False)
        return Standing(is_guest, is_admin, refusal)

    delayed_events = DelayedEvents(db, clock, rooms, standing_of, config.max_event_delay_duration)
    reports = Reports(clock, name, registry, history, has_account)

    async def leave_everything(user_id: str, erased: bool) -> None:
        for row in list((await memberships.of(user_id)).values()):
            if row.membership in ("join", "invite", "knock"):
                try:
                    await rooms.leave(row.room_id, user_id)
                except MatrixError:
                    continue  # a room that does not let them go any more: nothing of theirs is left there

    accounts.on_deactivate += [leave_everything, profiles.forget, account_data.forget, openid.forget]
    accounts.on_deactivate += [delayed_events.forget, thread_subscriptions.forget]

    server_notices = None
    if notices_user is not None and config.server_notices is not None:
        server_notices = ServerNotices(
            db,
            accounts,
            profiles,
            tags,
            rooms,
            notices_user,
            look_of_notices(config.server_notices),
            auto_join=config.server_notices.auto_join,
        )

    # devices
    key_backup = KeyBackup(db)
    accounts.on_deactivate.append(key_backup.forget)
    joined_rooms = device_list_rows.joined_rooms
    sharing = Sharing(registry, memberships)
    remote_lists = RemoteLists(
        db,
        clock,
        name,
        user_keys,
        joined_rooms=joined_rooms,
        rooms_with=sharing.rooms_with,
        local_members=memberships.local_members,
    )
    db.follow(remote_lists.follow)
    one_time_keys = OneTimeKeys(db, name, user_keys)
    device_keys = DeviceKeys(db, name, joined_rooms, user_keys, remote_lists, one_time_keys.spare)
    to_device = ToDevice(db, clock, name, federates=federation.whitelist.allows)
    device_lists = DeviceLists(db)
    devices.on_delete.append(device_keys.forget_devices)
    devices.on_rename.append(device_keys.renamed)
    key_counts = KeyCounts(db, one_time_keys.spare)
    db.follow(key_counts.follow)

    # what is new
    ephemeral = Ephemeral(clock)
    typing = Typing(clock, ephemeral)
    memberships.on_change(typing.membership_changed)
    presence = Presence(
        db, clock, ephemeral, joined_rooms=memberships.joined_rooms, enabled=config.presence.enabled
    )
    room_facts = RoomFacts(db)
    labels = Labels(db)
    connections = Connections(db, clock)
    for follower in (room_facts, labels, connections):
        db.follow(follower.follow)
    devices.on_delete.append(connections.forget_devices)
    notifier = Notifier(db, clock, memberships, ephemeral)
    db.follow(notifier.follow)
    sender = Sender(
        name,
        db,
        clock,
        federation.client,
        federation.destinations,
        federation.whitelist,
        heads=lambda room_id: room.head if (room := registry.cached(room_id)) is not None else None,
        joined_rooms=memberships.joined_rooms,
        local_members=memberships.local_members,
        presence_of=presence.get,
    )
    db.follow(sender.follow)
    typing.on_typing.append(sender.typing)
    presence.on_news.append(sender.presence)
    receipts = Receipts(db, clock, rooms.require_joined)
    recipients = Recipients(
        rooms, incoming.acl_allows, typing, receipts, presence, to_device, remote_lists
    )
    federation = replace(
        federation,
        receiver=Receiver(clock, incoming, federation.inspector.verify, db, recipients),
    )
    event_format = EventFormat(serializer, aggregations)
    joined = JoinedRooms(db, rooms, event_format, typing, LazyMembers())
    left = LeftRooms(db, events, event_format)
    account_data_part = AccountDataPart(db, push_rules)
    people = People(clock, notifier, rooms, device_lists, presence)
    sync = Sync(
        db,
        clock,
        notifier,
        RoomsPart(db, notifier, rooms, joined, left, account_data, unread, typing),
        account_data_part,
        people,
        key_counts,
    )
    sliding_sync = SlidingSync(
        db,
        clock,
        notifier,
        account_data,
        labels,
        connections,
        RoomList(db, rooms, room_facts),
        RoomParts(db, rooms, event_format, unread, LazyMembers()),
        ExtensionsPart(
            db, notifier, sync.inbox, account_data_part, people, key_counts, typing, thread_subscriptions
        ),
    )
    return Server(
        config=public_facts(config),
        clock=clock,
        db=db,
        accounts=accounts,
        tokens=tokens,
        uia=Uia(clock, accounts, registration_tokens, reuse_ms=settings.ui_auth_session_timeout),
        deactivation=Deactivation(db, accounts, tokens, devices),
        registration_tokens=registration_tokens,
        shared_secret=SharedSecret(clock, settings.registration_shared_secret),
        profiles=profiles,
        account_data=account_data,
        tags=tags,
        filters=Filters(db),
        openid=openid,
        rendezvous=Rendezvous(clock, enabled=config.rendezvous.enabled),
        devices=devices,
        device_keys=device_keys,
        dehydrated_devices=DehydratedDevices(db, clock, devices, device_keys),
        one_time_keys=one_time_keys,
        cross_signing=CrossSigning(db, joined_rooms),
        signatures=SignatureUpload(db, name, joined_rooms, device_keys),
        key_backup=key_backup,
        to_device=to_device,
        device_lists=device_lists,
        remote_lists=remote_lists,
        events=events,
        rooms=rooms,
        incoming=incoming,
        unheard_leaves=elsewhere.unheard,
        third_party_invites=ThirdPartyInvites(registry, rooms, federation.identity_servers),
        upgrades=Upgrades(registry, shown_profile),
        hierarchy=Hierarchy(db, clock, memberships, name, SpaceHierarchy(federation.client, clock)),
        history=history,
        delayed_events=delayed_events,
        relations=Relations(db, history, backfill.nearest),
        aggregations=aggregations,
        reports=reports,
        serializer=serializer,
        server_notices=server_notices,
        directory=directory,
        public_rooms=public_rooms,
        search_index=search_index,
        search=search,
        user_directory=user_directory,
        notifier=notifier,
        sync=sync,
        sliding_sync=sliding_sync,
        old_sync=OldSync(db, clock, notifier, sync, rooms, history, event_format),
        receipts=receipts,
        typing=typing,
        presence=presence,
        push_rules=push_rules,
        subscribers=subscribers,
        thread_subscriptions=thread_subscriptions,
        unread=unread,
        notifications=Notifications(registry, push_rules, push_actions.facts, account_data.ignored_users),
        federation=federation,
        sender=sender,
    )
