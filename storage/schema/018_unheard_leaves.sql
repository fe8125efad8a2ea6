-- Invites declined and knocks withdrawn that none of `servers` (JSON) has heard of yet.
CREATE TABLE unheard_leave (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    servers BLOB NOT NULL,
    ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id)
);
