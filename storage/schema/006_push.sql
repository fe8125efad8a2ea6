-- Push rules and unread counts.

-- What a user changed about the push rules: a JSON object, see homeserver.protocol.push_rules.ruleset.
-- Users who never changed anything have no row.
CREATE TABLE push_rules (
    user_id TEXT PRIMARY KEY,
    changes BLOB NOT NULL,
    position INTEGER NOT NULL
);

-- What an event does to one user, where that is not what its base (`event.notify`) does to the user:
-- mentions, keywords, invites, other rules of the user's own. It takes the place of the base.
-- `position`, `event_id` and `thread` are the event's.
CREATE TABLE push_action (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    thread TEXT,
    notify INTEGER NOT NULL,
    highlight INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id, position)
);

-- Where a user's latest stay in a room began: nothing before it counts as unread.
CREATE TABLE unread_from (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id)
);

-- The events of threads, for counting them apart from the main timeline.
CREATE INDEX event_thread ON event (room, position, thread) WHERE thread IS NOT NULL;
