-- What is kept of other servers' users' devices, so that encrypting to them asks nobody.

-- One row for each remote user whose list somebody here asked for while they shared a room. `seen` is the
-- JSON array of the stream_ids of the updates that the list holds, the last ones at least: an update is
-- applied if all those before it are among them. `stale` is 0 where the list is known to be good, else how
-- often it was found to be not: what was fetched before the last time does not mend it.
CREATE TABLE remote_device_list (
    user_id TEXT PRIMARY KEY,
    seen BLOB NOT NULL,
    stale INTEGER NOT NULL
);
CREATE INDEX remote_device_list_stale ON remote_device_list (user_id) WHERE stale > 0;

-- Identity keys as `/keys/query` answers them, `unsigned` with the display name included.
CREATE TABLE remote_device (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- `usage`: master or self_signing.
CREATE TABLE remote_cross_signing_key (
    user_id TEXT NOT NULL,
    usage TEXT NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (user_id, usage)
);
