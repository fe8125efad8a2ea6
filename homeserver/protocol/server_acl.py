"""Server ACLs: which servers a room keeps out.

https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms

Lists of thousands of names are common and are asked about for every event from elsewhere, so the lists of
one event are prepared once: `ServerAcl.of` leaves the result on the event. Names without wildcards, which
most are, stand in a set.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from homeserver.protocol.events import Event
from homeserver.protocol.push_rules.globs import Predicate, is_literal, whole

ACL_KEY: Final = ("m.room.server_acl", "")


class _Names:
    """One of the lists; anybody with the power may have written anything into it."""

    __slots__ = ("_globs", "_literal")

    def __init__(self, given: Any) -> None:
        patterns = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
        self._literal = frozenset(each.lower() for each in patterns if is_literal(each))
        globs = dict.fromkeys(each.lower() for each in patterns if not is_literal(each))
        self._globs: list[Predicate] = [whole(each) for each in globs]

    def __contains__(self, host: str) -> bool:
        return host in self._literal or any(matches(host) for matches in self._globs)


class ServerAcl:
    """The content of an m.room.server_acl event, read."""

    __slots__ = ("_allow", "_deny", "_ip_literals")

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._ip_literals = content.get("allow_ip_literals") is not False
        self._allow = _Names(content.get("allow"))
        self._deny = _Names(content.get("deny"))

    @classmethod
    def of(cls, event: Event) -> ServerAcl:
        cached = event.derived
        if type(cached) is cls:
            return cached
        event.derived = acl = cls(event.content)
        return acl

    def allows(self, server_name: str) -> bool:
        host = host_of(server_name).lower()
        if not self._ip_literals and _is_ip_literal(host):
            return False
        return host not in self._deny and host in self._allow


def allowed(content: Mapping[str, Any] | None, server_name: str) -> bool:
    """Whether the room lets the server take part; None: the room has no such event."""
    return content is None or ServerAcl(content).allows(server_name)


def host_of(server_name: str) -> str:
    """A server name without its port; an IPv6 address keeps its brackets."""
    if server_name.startswith("["):
        return server_name[: server_name.find("]") + 1] or server_name
    return server_name.partition(":")[0]


def _is_ip_literal(host: str) -> bool:
    if host.startswith("["):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
