"""Identifiers: users, rooms, aliases, events and servers.

https://spec.matrix.org/v1.19/appendices/#identifier-grammar

Two strictnesses live side by side: what may be *created* here (`is_valid_localpart`) and what must be
*accepted* from history and from other servers (`is_valid_user_id` and the rest), where a localpart may
hold any code point except `:` and NUL, or be empty.
"""

import ipaddress
import re
from functools import lru_cache

MAX_ID_BYTES = 255

_SERVER_NAME = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|[0-9A-Za-z.-]{1,255})(?::[0-9]{1,5})?\Z")
_LOCALPART = re.compile(r"[a-z0-9._=\-/+]+\Z")
_HASH = re.compile(r"[A-Za-z0-9_-]{43}\Z")


def domain_of(identifier: str) -> str:
    """The server name of a user, alias or old room or event ID; ValueError where there is none."""
    return identifier[identifier.index(":") + 1 :]


def server_of(identifier: str) -> str:
    """The same for identifiers nobody has checked: empty where there is none."""
    return identifier.partition(":")[2]


def localpart_of(identifier: str) -> str:
    return identifier[1 : identifier.index(":")]


@lru_cache(maxsize=8192)
def is_valid_server_name(name: str) -> bool:
    match = _SERVER_NAME.match(name)
    if match is None:
        return False
    if match[1] is None:
        return True
    try:
        ipaddress.IPv6Address(match[1])
    except ValueError:
        return False
    return True


def is_valid_localpart(localpart: str) -> bool:
    """Whether a new user may be given this localpart (the length is judged on the whole ID)."""
    return _LOCALPART.match(localpart) is not None


def is_valid_user_id(value: str) -> bool:
    """Historical user IDs included: they occur in rooms and must be accepted."""
    return len(value) <= MAX_ID_BYTES and _is_valid_user_id(value)


@lru_cache(maxsize=16384)
def _is_valid_user_id(value: str) -> bool:
    return value[:1] == "@" and _has_valid_domain(value) and fits(value)


def is_valid_alias(value: str) -> bool:
    return value[:1] == "#" and _has_valid_domain(value) and fits(value)


def is_valid_room_id(value: str) -> bool:
    """With a domain (room versions 1 to 11) or the create event's hash (12)."""
    if value[:1] != "!":
        return False
    return is_hash(value[1:]) or (_has_valid_domain(value) and fits(value))


def is_valid_event_id(value: str) -> bool:
    """Opaque: with a domain in room versions 1 and 2, a hash from 3."""
    return value[:1] == "$" and len(value) > 1 and "\0" not in value and fits(value)


def is_hash(value: str) -> bool:
    """A SHA-256 in URL-safe unpadded base64."""
    return _HASH.match(value) is not None


def fits(value: str) -> bool:
    """At most 255 bytes of UTF-8 (lone surrogates have no UTF-8 and never fit)."""
    if value.isascii():
        return len(value) <= MAX_ID_BYTES
    try:
        return len(value.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def _has_valid_domain(value: str) -> bool:
    localpart, colon, domain = value.partition(":")
    return bool(colon) and "\0" not in localpart and is_valid_server_name(domain)
