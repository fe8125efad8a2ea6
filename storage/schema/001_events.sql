-- Events, rooms and the stream. INTEGER is BIGINT and BLOB is BYTEA on PostgreSQL.

-- The stream's last committed position, one row a writer. Positions are gapless and in commit order.
CREATE TABLE stream_position (writer INTEGER PRIMARY KEY, position INTEGER NOT NULL);
INSERT INTO stream_position (writer, position) VALUES (0, 0);

-- How far each follower of the stream (federation, application services, push …) has come.
CREATE TABLE follower (name TEXT PRIMARY KEY, position INTEGER NOT NULL);

-- Rooms this server takes or took part in. `extremities` is a JSON array of event IDs;
-- `snapshot` the current state.
CREATE TABLE room (
    nid INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    snapshot INTEGER,
    depth INTEGER NOT NULL,
    position INTEGER NOT NULL,
    extremities BLOB NOT NULL
);

-- One row an event. `position` is NULL for outliers, negative for backfilled events. `state_before` and
-- `state_after` name snapshots. `status`: 0 accepted, 1 rejected, 2 soft-failed. `notify`: what the default
-- push rules say to a member who is not mentioned. `thread`: event ID of the thread's root.
-- `replaces`: the state event that this one replaced. `device_id` and `txn_id` make sending idempotent without a row of their own.
CREATE TABLE event (
    nid INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    room INTEGER NOT NULL,
    position INTEGER UNIQUE,
    depth INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    sender TEXT NOT NULL,
    membership TEXT,
    state_before INTEGER,
    state_after INTEGER,
    status INTEGER NOT NULL,
    notify INTEGER NOT NULL,
    thread TEXT,
    replaces TEXT,
    redacted_by TEXT,
    device_id TEXT,
    txn_id TEXT,
    json BLOB NOT NULL
);
CREATE UNIQUE INDEX event_room_position ON event (room, position) WHERE position IS NOT NULL;
CREATE INDEX event_room_depth ON event (room, depth, position) WHERE position IS NOT NULL;
CREATE UNIQUE INDEX event_txn ON event (sender, device_id, room, txn_id, type) WHERE txn_id IS NOT NULL;
CREATE INDEX event_state ON event (room, type, position) WHERE state_key IS NOT NULL;

-- A room state as a delta on its parent: `delta` packs the numbers of the state events that differ,
-- eight bytes each, big endian; a negative number takes that event's (type, state_key) away.
CREATE TABLE snapshot (
    nid INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    parent INTEGER,
    delta BLOB NOT NULL
);
CREATE INDEX snapshot_room ON snapshot (room);

-- The current membership of each user in each room: what a user's room list is read from.
-- `invite_state` holds the stripped state of an invite or a knock as a JSON array.
CREATE TABLE membership (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    previous TEXT,
    event_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    position INTEGER NOT NULL,
    forgotten INTEGER NOT NULL,
    invite_state BLOB,
    PRIMARY KEY (user_id, room_id)
);
CREATE INDEX membership_room ON membership (room_id, membership);
CREATE INDEX membership_position ON membership (position);

-- m.relates_to, one row a relation, so that edits, threads and reactions are found from their target.
CREATE TABLE relation (
    child INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    parent TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    type TEXT NOT NULL,
    sender TEXT NOT NULL,
    position INTEGER NOT NULL
);
CREATE INDEX relation_parent ON relation (room, parent, rel_type, position);
