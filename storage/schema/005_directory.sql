-- Names of rooms, the published room directory, and an index for reading history.

-- Aliases of this server: a name for a room, and who gave it.
CREATE TABLE room_alias (
    alias TEXT PRIMARY KEY,
    room_id TEXT NOT NULL,
    creator TEXT NOT NULL,
    created_ts INTEGER NOT NULL
);
CREATE INDEX room_alias_room ON room_alias (room_id);

-- Rooms in the published directory. `network` is empty for the server's own list, or names the network
-- of an application service.
CREATE TABLE published_room (
    room_id TEXT NOT NULL,
    network TEXT NOT NULL,
    PRIMARY KEY (room_id, network)
);

-- One user's memberships in one room over time: what history visibility is judged by, and what a departed
-- member may still read.
CREATE INDEX event_member ON event (room, state_key, position) WHERE type = 'm.room.member';
