"""Requests whose form is right and whose meaning is wrong, with the answers that the specification allows.

Mallory asks. `{me}`, `{room}`, `{event}` and `{alias}` are his; `{her}`, `{her_room}`, `{her_event}` and
`{her_alias}` are Alice's. Where the specification leaves the error code open, every code is listed that
says the right thing.
"""

from typing import Any

Outcome = tuple[int, str]
Refusal = tuple[str, str, Any, set[Outcome]]

FORBIDDEN: set[Outcome] = {(403, "M_FORBIDDEN")}
NOT_FOUND: set[Outcome] = {(404, "M_NOT_FOUND")}
INVALID: set[Outcome] = {(400, "M_INVALID_PARAM")}
BAD: set[Outcome] = {(400, "M_BAD_JSON")}
WRONG: set[Outcome] = INVALID | BAD
UNKNOWN: set[Outcome] = {(400, "M_UNKNOWN")}
HIDDEN = FORBIDDEN | NOT_FOUND
LARGE: set[Outcome] = {(413, "M_TOO_LARGE")}

ROOM = "/rooms/{room}"
HER_ROOM = "/rooms/{her_room}"
NOWHERE = "/rooms/!nowhere:localhost"
SEND = "/send/m.room.message/"

MESSAGE = {"msgtype": "m.text", "body": "hello"}
LOGIN = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "{me}"}, "password": "wrong"}
DUMMY = {"auth": {"type": "m.login.dummy"}, "password": "correct horse battery staple"}
THIRD_PARTY = {"id_server": "id.example", "id_access_token": "t", "medium": "email", "address": "a@b.c"}
RULE = {"actions": ["notify"]}


def key(user_id: str, device_id: str) -> dict[str, Any]:
    algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
    return {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": algorithms,
        "keys": {},
        "signatures": {},
    }


REFUSALS: list[Refusal] = [
    # Accounts
    ("POST", "/login", LOGIN, FORBIDDEN),
    ("POST", "/login", LOGIN | {"identifier": {"type": "m.id.user", "user": "nobody"}}, FORBIDDEN),
    (
        "POST",
        "/login",
        LOGIN | {"identifier": {"type": "m.id.user", "user": "@nobody:elsewhere.example"}},
        FORBIDDEN,
    ),
    ("POST", "/login", LOGIN | {"type": "m.login.magic"}, UNKNOWN | INVALID),
    ("POST", "/login", LOGIN | {"identifier": {"type": "m.id.dream"}}, UNKNOWN | INVALID | BAD),
    (
        "POST",
        "/login",
        {"type": "m.login.password"},
        BAD | {(400, "M_MISSING_PARAM"), (400, "M_UNKNOWN")} | INVALID,
    ),
    ("POST", "/login", {"type": "m.login.token", "token": "nonsense"}, FORBIDDEN | UNKNOWN),
    ("POST", "/register", DUMMY | {"username": "{my_name}"}, {(400, "M_USER_IN_USE")}),
    ("POST", "/register", DUMMY | {"username": "Not Valid!"}, {(400, "M_INVALID_USERNAME")}),
    ("POST", "/register", DUMMY | {"username": "a" * 300}, {(400, "M_INVALID_USERNAME")}),
    ("POST", "/register?kind=superuser", DUMMY | {"username": "x"}, INVALID | UNKNOWN),
    ("GET", "/register/available?username=%40%20", None, {(400, "M_INVALID_USERNAME")}),
    ("GET", "/register/available?username={my_name}", None, {(400, "M_USER_IN_USE")}),
    ("POST", "/refresh", {"refresh_token": "nonsense"}, {(401, "M_UNKNOWN_TOKEN")}),
    ("GET", "/devices/NOSUCHDEVICE", None, NOT_FOUND),
    ("PUT", "/devices/NOSUCHDEVICE", {"display_name": "x"}, NOT_FOUND),
    # Rooms
    ("POST", "/createRoom", {"room_version": "999"}, {(400, "M_UNSUPPORTED_ROOM_VERSION")}),
    ("POST", "/createRoom", {"room_alias_name": "{alias_local}"}, {(400, "M_ROOM_IN_USE")}),
    ("POST", "/createRoom", {"room_alias_name": "with space\0"}, WRONG),
    ("POST", "/createRoom", {"preset": "anarchy"}, WRONG),
    ("POST", "/createRoom", {"visibility": "partly"}, WRONG),
    ("POST", "/createRoom", {"invite": ["not a user"]}, WRONG),
    ("POST", "/createRoom", {"initial_state": [{"content": {}}]}, WRONG | {(400, "M_MISSING_PARAM")}),
    ("POST", "/createRoom", {"initial_state": [{"type": "m.x", "content": 7}]}, WRONG),
    (
        "POST",
        "/createRoom",
        {"power_level_content_override": {"users": {"{me}": "much"}}},
        WRONG | {(400, "M_INVALID_ROOM_STATE")},
    ),
    ("POST", "/createRoom", {"name": "x" * 70_000}, LARGE),
    ("POST", "/join/!nowhere:localhost", {}, HIDDEN),
    ("POST", "/join/%23nowhere:localhost", {}, NOT_FOUND),
    ("POST", "/join/neither", {}, INVALID),
    ("POST", "/join/{her_room}", {}, FORBIDDEN),
    ("POST", "/join/{her_alias}", {}, FORBIDDEN),
    ("POST", f"{HER_ROOM}/join", {}, FORBIDDEN),
    ("POST", "/knock/{her_room}", {}, FORBIDDEN),
    ("POST", "/knock/%23nowhere:localhost", {}, NOT_FOUND),
    ("POST", f"{HER_ROOM}/leave", {}, HIDDEN),
    ("POST", f"{ROOM}/forget", {}, UNKNOWN | FORBIDDEN),
    ("POST", f"{HER_ROOM}/invite", {"user_id": "{me}"}, FORBIDDEN),
    ("POST", f"{ROOM}/invite", {"user_id": "{me}"}, FORBIDDEN),
    ("POST", f"{ROOM}/invite", {"user_id": "nobody"}, WRONG),
    ("POST", f"{ROOM}/invite", THIRD_PARTY | {"medium": "pigeon"}, INVALID),
    ("POST", f"{ROOM}/invite", THIRD_PARTY | {"id_server": "http://localhost/"}, INVALID),
    ("POST", f"{ROOM}/invite", {"medium": "email"}, {(400, "M_MISSING_PARAM")}),
    ("POST", f"{HER_ROOM}/invite", THIRD_PARTY, FORBIDDEN),
    ("POST", "/createRoom", {"invite_3pid": [THIRD_PARTY | {"address": ""}]}, INVALID),
    ("POST", f"{HER_ROOM}/kick", {"user_id": "{her}"}, FORBIDDEN),
    ("POST", f"{ROOM}/kick", {"user_id": "{her}"}, FORBIDDEN),
    ("POST", f"{HER_ROOM}/ban", {"user_id": "{her}"}, FORBIDDEN),
    ("POST", f"{HER_ROOM}/unban", {"user_id": "{her}"}, FORBIDDEN),
    ("POST", f"{ROOM}/unban", {"user_id": "{her}"}, FORBIDDEN | {(400, "M_BAD_STATE")}),
    # Events
    ("PUT", f"{HER_ROOM}{SEND}a", MESSAGE, FORBIDDEN),
    ("PUT", f"{NOWHERE}{SEND}b", MESSAGE, HIDDEN),
    ("PUT", f"{ROOM}{SEND}c", MESSAGE | {"body": "x" * 70_000}, LARGE),
    ("PUT", f"{ROOM}{SEND}d", MESSAGE | {"number": 1.5}, BAD),
    ("PUT", f"{ROOM}{SEND}e", MESSAGE | {"number": 2**53}, BAD),
    ("PUT", f"{ROOM}{SEND}f", MESSAGE | {"deep": [{"number": -(2**53)}]}, BAD),
    ("PUT", f"{ROOM}/send/{'x' * 300}/g", {}, LARGE | INVALID),
    ("PUT", f"{ROOM}/send/m.room.create/h", {}, FORBIDDEN | WRONG),
    ("PUT", f"{ROOM}/state/m.room.create/", {}, FORBIDDEN | WRONG),
    ("PUT", f"{ROOM}/state/m.x/{'x' * 300}", {}, LARGE | INVALID),
    ("PUT", f"{ROOM}/state/m.x/%40somebody:localhost", {}, FORBIDDEN),
    ("PUT", f"{ROOM}/state/m.room.member/{{her}}", {"membership": "join"}, FORBIDDEN),
    ("PUT", f"{ROOM}/state/m.room.member/{{me}}", {"membership": "present"}, FORBIDDEN | WRONG),
    ("PUT", f"{ROOM}/state/m.room.member/{{me}}", {}, FORBIDDEN | WRONG),
    ("PUT", f"{ROOM}/state/m.room.member/nobody", {"membership": "invite"}, FORBIDDEN | WRONG),
    ("PUT", f"{ROOM}/state/m.room.power_levels/", {"users": {"{me}": "100"}}, FORBIDDEN | WRONG),
    ("PUT", f"{ROOM}/state/m.room.power_levels/", {"users_default": 1.5}, FORBIDDEN | WRONG),
    (
        "PUT",
        f"{ROOM}/state/m.room.canonical_alias/",
        {"alias": "#nowhere:localhost"},
        {(400, "M_BAD_ALIAS")} | INVALID,
    ),
    ("PUT", f"{ROOM}/state/m.room.canonical_alias/", {"alias": "{her_alias}"}, {(400, "M_BAD_ALIAS")}),
    ("PUT", f"{ROOM}/state/m.room.canonical_alias/", {"alias": "no alias"}, INVALID | {(400, "M_BAD_ALIAS")}),
    ("PUT", f"{HER_ROOM}/state/m.room.name/", {"name": "mine"}, FORBIDDEN),
    ("GET", f"{HER_ROOM}/state", None, FORBIDDEN),
    ("GET", f"{HER_ROOM}/state/m.room.name/", None, FORBIDDEN),
    ("GET", f"{ROOM}/state/m.room.nonsense/", None, NOT_FOUND),
    ("PUT", f"{ROOM}/redact/$nothing/a", {}, NOT_FOUND),
    ("PUT", f"{ROOM}/redact/{{her_event}}/b", {}, HIDDEN | INVALID),
    ("PUT", f"{HER_ROOM}/redact/{{her_event}}/c", {}, FORBIDDEN),
    # Reading
    ("GET", f"{HER_ROOM}/messages?dir=b", None, FORBIDDEN),
    ("GET", f"{ROOM}/messages?dir=sideways", None, INVALID),
    ("GET", f"{ROOM}/messages", None, {(400, "M_MISSING_PARAM")}),
    ("GET", f"{ROOM}/messages?dir=b&from=nonsense", None, INVALID),
    ("GET", f"{ROOM}/messages?dir=b&limit=-1", None, INVALID),
    ("GET", f"{ROOM}/messages?dir=b&filter=%7Bbroken", None, WRONG | {(400, "M_NOT_JSON")}),
    ("GET", f"{ROOM}/messages?dir=b&filter=%7B%22types%22%3A7%7D", None, WRONG),
    ("GET", f"{HER_ROOM}/event/{{her_event}}", None, HIDDEN),
    ("GET", f"{ROOM}/event/{{her_event}}", None, NOT_FOUND),
    ("GET", f"{ROOM}/event/nonsense", None, NOT_FOUND | INVALID),
    ("GET", f"{ROOM}/context/{{her_event}}", None, NOT_FOUND),
    ("GET", f"{HER_ROOM}/context/{{her_event}}", None, HIDDEN),
    ("GET", f"{HER_ROOM}/members", None, FORBIDDEN),
    ("GET", f"{HER_ROOM}/joined_members", None, FORBIDDEN),
    ("GET", f"{ROOM}/members?at=nonsense", None, INVALID),
    ("GET", f"{ROOM}/members?membership=present", None, INVALID),
    ("GET", "/sync?since=nonsense", None, INVALID),
    ("GET", "/sync?since=%00", None, INVALID),
    ("GET", "/sync?filter=nosuchfilter", None, INVALID | NOT_FOUND),
    ("GET", "/sync?filter=%7Bbroken", None, WRONG | {(400, "M_NOT_JSON")}),
    ("GET", "/sync?filter=%7B%22room%22%3A7%7D", None, WRONG),
    ("GET", "/sync?set_presence=asleep", None, INVALID),
    ("GET", "/events?from=nonsense", None, INVALID),
    ("GET", "/events?from=t1_1", None, INVALID),
    ("GET", "/events?room_id={her_room}", None, FORBIDDEN),
    ("GET", "/events/{her_event}", None, NOT_FOUND),
    ("GET", "/initialSync?limit=-1", None, INVALID),
    ("GET", f"{HER_ROOM}/initialSync", None, FORBIDDEN),
    ("GET", f"{ROOM}/initialSync?limit=-1", None, INVALID),
    ("GET", "/publicRooms?server=elsewhere.example", None, HIDDEN | {(502, "M_UNKNOWN")} | UNKNOWN),
    ("GET", "/publicRooms?since=nonsense", None, INVALID),
    ("POST", "/publicRooms", {"limit": -1}, INVALID | BAD),
    # Aliases and the directory
    ("PUT", "/directory/room/no-alias", {"room_id": "{room}"}, INVALID),
    ("PUT", "/directory/room/%23x:elsewhere.example", {"room_id": "{room}"}, INVALID | FORBIDDEN),
    ("PUT", "/directory/room/%23mine:localhost", {"room_id": "not a room"}, WRONG | NOT_FOUND),
    ("PUT", "/directory/room/%23mine2:localhost", {"room_id": "!nowhere:localhost"}, HIDDEN | INVALID),
    ("PUT", "/directory/room/%23mine3:localhost", {"room_id": "{her_room}"}, FORBIDDEN),
    ("PUT", "/directory/room/{alias}", {"room_id": "{room}"}, {(409, "M_UNKNOWN")}),
    ("DELETE", "/directory/room/{her_alias}", None, FORBIDDEN),
    ("DELETE", "/directory/room/%23nowhere:localhost", None, NOT_FOUND),
    ("GET", "/directory/room/%23nowhere:localhost", None, NOT_FOUND),
    ("GET", "/directory/room/no-alias", None, INVALID),
    ("PUT", "/directory/list/room/{her_room}", {"visibility": "public"}, FORBIDDEN),
    ("PUT", "/directory/list/room/{room}", {"visibility": "partly"}, WRONG),
    ("GET", "/directory/list/room/!nowhere:localhost", None, NOT_FOUND),
    ("GET", f"{HER_ROOM}/aliases", None, FORBIDDEN),
    # Typing, receipts, markers
    ("PUT", f"{ROOM}/typing/{{her}}", {"typing": True}, FORBIDDEN),
    ("PUT", f"{HER_ROOM}/typing/{{me}}", {"typing": True}, FORBIDDEN),
    ("POST", f"{ROOM}/receipt/m.fancy/{{event}}", {}, INVALID),
    ("POST", f"{HER_ROOM}/receipt/m.read/{{her_event}}", {}, FORBIDDEN),
    ("POST", f"{ROOM}/receipt/m.read/{{event}}", {"thread_id": ""}, WRONG),
    ("POST", f"{ROOM}/receipt/m.fully_read/{{event}}", {"thread_id": "main"}, INVALID),
    ("POST", f"{HER_ROOM}/read_markers", {"m.read": "{her_event}"}, FORBIDDEN),
    ("POST", f"{ROOM}/read_markers", {"m.read": 7}, WRONG),
    # Account data, tags, filters
    ("PUT", "/user/{her}/account_data/m.x", {}, FORBIDDEN),
    ("GET", "/user/{her}/account_data/m.x", None, FORBIDDEN),
    ("GET", "/user/{me}/account_data/m.nothing", None, NOT_FOUND),
    ("PUT", "/user/{me}/account_data/m.fully_read", {}, {(405, "M_BAD_JSON")}),
    ("PUT", "/user/{me}/account_data/m.push_rules", {}, {(405, "M_BAD_JSON")}),
    ("PUT", "/user/{me}/rooms/{room}/account_data/m.fully_read", {}, {(405, "M_BAD_JSON")}),
    ("PUT", "/user/{me}/rooms/nonsense/account_data/m.x", {}, INVALID),
    ("GET", "/user/{me}/rooms/nonsense/account_data/m.x", None, INVALID),
    ("PUT", "/user/{her}/rooms/{her_room}/account_data/m.x", {}, FORBIDDEN),
    ("PUT", "/user/{her}/rooms/{her_room}/tags/m.favourite", {}, FORBIDDEN),
    ("GET", "/user/{her}/rooms/{her_room}/tags", None, FORBIDDEN),
    ("PUT", "/user/{me}/rooms/{room}/tags/m.favourite", {"order": "first"}, WRONG),
    ("POST", "/user/{her}/filter", {}, FORBIDDEN),
    ("POST", "/user/{me}/filter", {"room": {"timeline": {"limit": "many"}}}, WRONG),
    ("POST", "/user/{me}/filter", {"event_fields": 7}, WRONG),
    ("GET", "/user/{me}/filter/nosuchfilter", None, NOT_FOUND),
    ("GET", "/user/{her}/filter/0", None, FORBIDDEN),
    # Profiles and presence
    ("PUT", "/profile/{her}/displayname", {"displayname": "Mallory's"}, FORBIDDEN),
    ("PUT", "/profile/{her}/avatar_url", {"avatar_url": "mxc://localhost/x"}, FORBIDDEN),
    ("PUT", "/profile/{me}/displayname", {"displayname": 7}, WRONG),
    ("PUT", "/profile/{me}/displayname", {}, {(400, "M_MISSING_PARAM")}),
    (
        "PUT",
        "/profile/{me}/org.example.big",
        {"org.example.big": "x" * 70_000},
        {(400, "M_PROFILE_TOO_LARGE")},
    ),
    ("PUT", f"/profile/{{me}}/org.{'x' * 300}", {f"org.{'x' * 300}": 1}, {(400, "M_KEY_TOO_LARGE")}),
    ("GET", "/profile/@nobody:localhost", None, NOT_FOUND),
    ("GET", "/profile/nobody", None, INVALID | NOT_FOUND),
    ("PUT", "/presence/{her}/status", {"presence": "online"}, FORBIDDEN),
    ("PUT", "/presence/{me}/status", {"presence": "asleep"}, WRONG),
    ("GET", "/presence/{her}/status", None, HIDDEN),
    # Push rules
    ("GET", "/pushrules/global/override/nosuchrule", None, NOT_FOUND),
    ("GET", "/pushrules/global/nosuchkind/x", None, INVALID | NOT_FOUND),
    ("PUT", "/pushrules/global/nosuchkind/x", RULE, INVALID | NOT_FOUND),
    ("PUT", "/pushrules/local/override/x", RULE, {(404, "M_UNRECOGNIZED")}),
    ("PUT", "/pushrules/global/override/.mine", RULE, INVALID | UNKNOWN),
    ("PUT", "/pushrules/global/override/x", {"actions": "notify"}, WRONG),
    ("PUT", "/pushrules/global/override/x", {"actions": [7]}, WRONG),
    ("PUT", "/pushrules/global/override/x", RULE | {"conditions": [7]}, WRONG),
    ("PUT", "/pushrules/global/content/x", RULE, WRONG | {(400, "M_MISSING_PARAM")}),
    (
        "PUT",
        "/pushrules/global/override/x?before=nosuchrule",
        RULE | {"conditions": []},
        NOT_FOUND | UNKNOWN | INVALID,
    ),
    ("PUT", "/pushrules/global/override/nosuchrule/enabled", {"enabled": True}, NOT_FOUND),
    ("PUT", "/pushrules/global/override/.m.rule.master/enabled", {"enabled": "yes"}, WRONG),
    ("PUT", "/pushrules/global/override/nosuchrule/actions", {"actions": []}, NOT_FOUND),
    ("DELETE", "/pushrules/global/override/nosuchrule", None, NOT_FOUND),
    ("PUT", "/pushrules/global/postcontent/x", RULE, INVALID),
    # Keys and to-device messages
    ("POST", "/keys/upload", {"device_keys": key("{her}", "DEVICE")}, INVALID | FORBIDDEN),
    ("POST", "/keys/upload", {"device_keys": key("{me}", "ANOTHER")}, INVALID | FORBIDDEN),
    ("POST", "/keys/upload", {"device_keys": "nonsense"}, WRONG),
    ("POST", "/keys/upload", {"one_time_keys": {"no-colon": "x"}}, WRONG),
    ("POST", "/keys/upload", {"one_time_keys": {"signed_curve25519:A": 7}}, WRONG),
    ("POST", "/keys/query", {"device_keys": {"{her}": "all"}}, WRONG),
    ("POST", "/keys/claim", {"one_time_keys": {"{her}": ["DEVICE"]}}, WRONG),
    ("GET", "/keys/changes?from=nonsense&to=s1", None, INVALID),
    ("PUT", "/sendToDevice/m.x/a", {"messages": {"{her}": {"*": "text"}}}, WRONG),
    ("PUT", "/sendToDevice/m.x/b", {"messages": {"{her}": []}}, WRONG),
    (
        "POST",
        "/keys/device_signing/upload",
        {"master_key": {"user_id": "{her}", "usage": ["master"], "keys": {"ed25519:x": "x"}}},
        INVALID | BAD | {(400, "M_INVALID_SIGNATURE")},
    ),
    ("GET", "/room_keys/version/999", None, NOT_FOUND),
    ("GET", "/room_keys/keys/{room}?version=999", None, NOT_FOUND),
    (
        "PUT",
        "/room_keys/keys?version=999",
        {"rooms": {}},
        NOT_FOUND | {(403, "M_WRONG_ROOM_KEYS_VERSION")},
    ),
]
