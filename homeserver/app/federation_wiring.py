"""The federation part of the object graph. Importing it declares the endpoints other servers use."""

from collections.abc import Sequence
from typing import Any

import federation.server  # noqa: F401
from federation.addresses import AddressFilter
from federation.client import FederationClient
from federation.destinations import Destinations
from federation.discovery import Discovery
from federation.federation import Federation
from federation.http_client import HttpClient
from federation.identity_servers import IdentityServersClient
from federation.inspection import Inspector
from federation.key_documents import OldKey, OwnKeys
from federation.key_fetching import KeyFetcher, Notary
from federation.keyring import Keyring
from federation.notary import NotaryService
from federation.origin_limits import OriginLimits, OriginRate
from federation.policy_servers import PolicyServersClient
from federation.resolver import Resolver, system_records
from federation.rooms_client import RoomsClient
from federation.tls import ClientTls
from federation.well_known import WellKnown
from federation.whitelist import Whitelist
from homeserver.app.config import Config
from homeserver.clock import Clock
from homeserver.protocol.signing import SigningKey, VerifyKey, read_signing_keys
from storage.database import Database


def build_federation(
    config: Config, db: Database, clock: Clock, signing_key: SigningKey, reactor: Any
) -> Federation:
    allowed = AddressFilter(config.ip_range_blacklist, config.ip_range_whitelist)
    resolver = Resolver(clock, allowed, system_records(reactor))
    tls = ClientTls(config.federation_custom_ca_list, verify=config.federation_verify_certificates)
    http = HttpClient(reactor, resolver, tls)
    discovery = Discovery(resolver, WellKnown(http, clock))
    whitelist = Whitelist(config.federation_domain_whitelist)
    destinations = Destinations(db, clock)
    client = FederationClient(config.server_name, signing_key, http, discovery, destinations, whitelist)
    own_keys = _own_keys(config, signing_key, clock)
    fetcher = KeyFetcher(db, clock, client, _notaries(config))
    keyring = Keyring(db, clock, own_keys, fetcher)
    inspector = Inspector(reactor, keyring)
    return Federation(
        server_name=config.server_name,
        own_keys=own_keys,
        http=http,
        client=client,
        keyring=keyring,
        inspector=inspector,
        rooms=RoomsClient(client, inspector),
        policy_servers=PolicyServersClient(client),
        identity_servers=IdentityServersClient(http),
        notary=NotaryService(db, clock, own_keys, fetcher, whitelist),
        destinations=destinations,
        whitelist=whitelist,
        limits=_limits(config, clock),
        serve_server_wellknown=config.serve_server_wellknown,
        serve_public_rooms=config.allow_public_rooms_over_federation,
    )


def _limits(config: Config, clock: Clock) -> OriginLimits:
    given = config.rc_federation
    rate = OriginRate(
        window_ms=given.window_size,
        sleep_limit=given.sleep_limit,
        sleep_ms=given.sleep_delay,
        reject_limit=given.reject_limit,
        concurrent=given.concurrent,
    )
    return OriginLimits(clock, rate)


def _own_keys(config: Config, signing_key: SigningKey, clock: Clock) -> OwnKeys:
    """All keys of the file are published; the first, which is `signing_key`, signs."""
    others: list[SigningKey] = []
    if config.signing_key_path.exists():
        in_file = read_signing_keys(config.signing_key_path.read_text())
        others = [key for key in in_file if key.key_id != signing_key.key_id]
    old = [
        OldKey(VerifyKey.decode(key_id, given["key"]), given["expired_ts"])
        for key_id, given in config.old_signing_keys.items()
    ]
    keys = [signing_key, *others]
    return OwnKeys(config.server_name, keys, old, clock, config.key_refresh_interval)


def _notaries(config: Config) -> Sequence[Notary]:
    return [
        Notary(
            each.server_name,
            {key_id: VerifyKey.decode(key_id, key) for key_id, key in each.verify_keys.items()},
        )
        for each in config.trusted_key_servers
        if each.server_name != config.server_name
    ]
