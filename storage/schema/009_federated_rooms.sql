-- Rooms that other servers take part in.

-- The room's current state once this event had arrived, where a fork made it more than the one before with
-- this event.
ALTER TABLE event ADD COLUMN room_state INTEGER;

-- When other servers had joined members in a room: they get its events with since <= position <= until
-- (NULL: still), so the leave of the last member included. A row is written only when a server comes or goes.
CREATE TABLE room_server (
    server TEXT NOT NULL,
    room INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (server, room, since)
);
CREATE INDEX room_server_room ON room_server (room, server);

-- Events this server has to tell others of: those it made, and those that entered a room through it. One row
-- an event, however many servers: each server that `room_server` names at this position gets it, and the
-- server `also` (of somebody invited who is kicked, say), but never the server of its sender.
CREATE TABLE outgoing (
    position INTEGER PRIMARY KEY,
    event INTEGER NOT NULL,
    room INTEGER NOT NULL,
    also TEXT
);
CREATE INDEX outgoing_room ON outgoing (room, position);
CREATE INDEX outgoing_also ON outgoing (also, position) WHERE also IS NOT NULL;

-- Events that events of the timeline stand on and that this server lacks: where history goes on elsewhere.
-- `depth` is that of the deepest event known to stand on it.
CREATE TABLE missing_event (
    room INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    depth INTEGER NOT NULL,
    PRIMARY KEY (room, event_id)
);
CREATE INDEX missing_event_depth ON missing_event (room, depth);

-- Redactions that arrived before what they redact.
CREATE TABLE pending_redaction (
    target TEXT NOT NULL,
    redaction TEXT NOT NULL,
    PRIMARY KEY (target, redaction)
);

-- Rooms joined with part of their state: the members are missing until `completed`, a position. `event_id` is
-- the join; `servers` (JSON) are those to ask.
CREATE TABLE partial_room (
    room INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    servers BLOB NOT NULL,
    completed INTEGER
);
