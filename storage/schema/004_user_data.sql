-- What users keep on the server for themselves or show of themselves.

-- Account data, global (room_id is empty) and by room; tags and read markers are account data too.
-- `content` is the JSON object; empty where the data was deleted, so that sync can say so.
CREATE TABLE account_data (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    content BLOB NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_position ON account_data (user_id, position);

-- Read receipts: one row for each room, user, type and thread. `thread_id` is empty for unthreaded ones.
-- `event_position` is where the event stands in the stream (NULL for events not seen yet, which remote
-- users may have read before us); `position` is when the receipt came.
CREATE TABLE receipt (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    receipt_type TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_position INTEGER,
    ts INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (room_id, user_id, receipt_type, thread_id)
);
CREATE INDEX receipt_position ON receipt (room_id, position);

-- Profiles of our own users: all fields, display name and avatar among them, as one JSON object.
CREATE TABLE profile (user_id TEXT PRIMARY KEY, fields BLOB NOT NULL);

-- Filters users uploaded. `filter_id` is a hash of `definition`, so a row never changes.
CREATE TABLE user_filter (
    user_id TEXT NOT NULL,
    filter_id TEXT NOT NULL,
    definition BLOB NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);

-- The last presence of our own users, written now and then. After a restart everyone is offline; what is
-- read back is the status message and the time of the last activity. `status_msg` is JSON, a string or null.
CREATE TABLE presence (
    user_id TEXT PRIMARY KEY,
    status_msg BLOB NOT NULL,
    last_active_ts INTEGER NOT NULL
);
