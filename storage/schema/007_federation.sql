-- Other servers: their signing keys, and how they answer.

-- The public keys of other servers. `valid_until` (ms) is when the origin's statement about the key ends or,
-- for a key that it no longer signs with (`old` = 1), when it stopped: `valid_until` then bounds events only.
CREATE TABLE server_key (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public TEXT NOT NULL,
    old INTEGER NOT NULL,
    valid_until INTEGER NOT NULL,
    PRIMARY KEY (server_name, key_id)
);

-- The last statement of each server about its keys as it signed it, which is what a notary hands on.
CREATE TABLE server_key_document (
    server_name TEXT PRIMARY KEY,
    document BLOB NOT NULL,
    valid_until INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL
);

-- Servers that did not answer when we had something to ask or to send: not tried again before `retry_at`.
-- Servers that answer have no row.
CREATE TABLE destination (
    server_name TEXT PRIMARY KEY,
    failing_since INTEGER NOT NULL,
    retry_at INTEGER NOT NULL,
    interval_ms INTEGER NOT NULL
);
