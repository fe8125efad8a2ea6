"""Server ACLs: the order of the rules, globs, ports, addresses, and lists that are no lists."""

from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import V11
from homeserver.protocol.server_acl import ServerAcl, allowed, host_of

EXAMPLE = {"allow": ["*"], "allow_ip_literals": False, "deny": ["*.evil.com", "evil.com"]}


def test_a_room_without_the_event_is_open() -> None:
    assert allowed(None, "anybody.example")


@pytest.mark.parametrize(
    ("server_name", "expected"),
    [
        ("good.example", True),
        ("evil.com", False),
        ("evil.com:8448", False),
        ("evil.com:1234", False),
        ("EVIL.com", False),
        ("very.Evil.COM:1", False),
        ("notevil.com", True),
        ("evil.com.example", True),
        ("1.2.3.4", False),
        ("1.2.3.4:8448", False),
        ("[::1]", False),
        ("[2001:db8::1]:8448", False),
        ("1.2.3.4.example", True),
    ],
)
def test_the_specifications_example(server_name: str, expected: bool) -> None:
    assert allowed(EXAMPLE, server_name) is expected


@pytest.mark.parametrize(
    ("content", "server_name", "expected"),
    [
        ({}, "a.example", False),
        ({"deny": ["b.example"]}, "a.example", False),
        ({"allow": []}, "a.example", False),
        ({"allow": ["a.example"]}, "a.example", True),
        ({"allow": ["A.Example"]}, "a.EXAMPLE:80", True),
        ({"allow": ["a.example"]}, "b.example", False),
        ({"allow": ["a.example:8448"]}, "a.example:8448", False),
        ({"allow": ["*"], "deny": ["*"]}, "a.example", False),
        ({"allow": ["?.example"]}, "a.example", True),
        ({"allow": ["?.example"]}, "aa.example", False),
        ({"allow": ["a[b].example"]}, "ab.example", False),
        ({"allow": ["*"], "allow_ip_literals": "false"}, "1.2.3.4", True),
        ({"allow": ["*"], "allow_ip_literals": True}, "[::1]:80", True),
        ({"allow": ["*"]}, "1.2.3.4", True),
        ({"allow": ["1.2.3.*"]}, "1.2.3.4:8448", True),
        ({"allow": ["*"], "deny": ["[2001:*]"]}, "[2001:db8::1]:443", False),
        ({"allow": "*"}, "a.example", False),
        ({"allow": {"*": 1}}, "a.example", False),
        ({"allow": [1, None, ["*"], "*"], "deny": [{}, "b.example"]}, "a.example", True),
        ({"allow": ["*"], "deny": "a.example"}, "a.example", True),
    ],
)
def test_rules(content: dict[str, Any], server_name: str, expected: bool) -> None:
    assert allowed(content, server_name) is expected


def test_an_event_is_read_once() -> None:
    pdu: dict[str, Any] = {
        "type": "m.room.server_acl", "state_key": "", "sender": "@a:x", "content": EXAMPLE, "depth": 1,
        "origin_server_ts": 1, "prev_events": [], "auth_events": [], "room_id": "!r:x",
    }
    event = Event(V11, "$acl", pdu, b"")
    assert ServerAcl.of(event) is ServerAcl.of(event)
    assert not ServerAcl.of(event).allows("evil.com")


def test_hosts() -> None:
    assert host_of("a.example:8448") == "a.example"
    assert host_of("[::1]:8448") == "[::1]"
    assert host_of("[broken") == "[broken"
