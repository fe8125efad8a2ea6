"""The server-default push rules, as data.

https://spec.matrix.org/v1.19/client-server-api/#predefined-rules

Rules about the user hold `ME` where the user's ID belongs: one compiled copy serves everybody, and
`personal` writes the ID in where a client reads the rule. The rules that looked for names in the body are
gone since v1.17; mentions are declared in `m.mentions`.
"""

from typing import Any

KINDS = ("override", "content", "postcontent", "room", "sender", "underride")
MASTER = ".m.rule.master"
# Of MSC4306, and only for people whose clients let them follow threads (see `with_threads`).
SUBSCRIBED_THREAD = ".io.element.msc4306.rule.subscribed_thread"
UNSUBSCRIBED_THREAD = ".io.element.msc4306.rule.unsubscribed_thread"
ME = "\0me"

_SOUND = {"set_tweak": "sound", "value": "default"}
_RING = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT = {"set_tweak": "highlight"}


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _thread(subscribed: bool) -> dict[str, Any]:
    return {"kind": "io.element.msc4306.thread_subscription", "subscribed": subscribed}


_PAIR = {"kind": "room_member_count", "is": "2"}

# (kind, rule_id, enabled, conditions, actions), in order.
DEFAULTS: tuple[tuple[str, str, bool, list[dict[str, Any]], list[Any]], ...] = (
    ("override", MASTER, False, [], []),
    ("override", ".m.rule.suppress_notices", True, [_match("content.msgtype", "m.notice")], []),
    (
        "override",
        ".m.rule.invite_for_me",
        True,
        [_match("type", "m.room.member"), _match("content.membership", "invite"), _match("state_key", ME)],
        ["notify", _SOUND],
    ),
    ("override", ".m.rule.member_event", True, [_match("type", "m.room.member")], []),
    (
        "override",
        ".m.rule.is_user_mention",
        True,
        [{"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": ME}],
        ["notify", _SOUND, _HIGHLIGHT],
    ),
    (
        "override",
        ".m.rule.is_room_mention",
        True,
        [
            {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        ["notify", _HIGHLIGHT],
    ),
    (
        "override",
        ".m.rule.tombstone",
        True,
        [_match("type", "m.room.tombstone"), _match("state_key", "")],
        ["notify", _HIGHLIGHT],
    ),
    ("override", ".m.rule.reaction", True, [_match("type", "m.reaction")], []),
    (
        "override",
        ".m.rule.room.server_acl",
        True,
        [_match("type", "m.room.server_acl"), _match("state_key", "")],
        [],
    ),
    (
        "override",
        ".m.rule.suppress_edits",
        True,
        [{"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"}],
        [],
    ),
    ("postcontent", UNSUBSCRIBED_THREAD, False, [_thread(False)], []),
    ("postcontent", SUBSCRIBED_THREAD, False, [_thread(True)], ["notify", _SOUND]),
    ("underride", ".m.rule.call", True, [_match("type", "m.call.invite")], ["notify", _RING]),
    (
        "underride",
        ".m.rule.encrypted_room_one_to_one",
        True,
        [_PAIR, _match("type", "m.room.encrypted")],
        ["notify", _SOUND],
    ),
    (
        "underride",
        ".m.rule.room_one_to_one",
        True,
        [_PAIR, _match("type", "m.room.message")],
        ["notify", _SOUND],
    ),
    ("underride", ".m.rule.message", True, [_match("type", "m.room.message")], ["notify"]),
    ("underride", ".m.rule.encrypted", True, [_match("type", "m.room.encrypted")], ["notify"]),
)


def personal(condition: dict[str, Any], user_id: str) -> dict[str, Any]:
    """The condition with the user's ID written in."""
    if ME not in condition.values():
        return condition
    return {key: user_id if value == ME else value for key, value in condition.items()}
