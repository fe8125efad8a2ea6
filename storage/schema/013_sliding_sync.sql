-- Sliding sync: what each connection of a device was sent.

-- A connection, by the name the device gave it. `number` stands in its tokens: a connection that begins anew
-- gets another one. `used_ts` is when it was last known to be in use, to about a day.
CREATE TABLE sliding_connection (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    conn_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    used_ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, conn_id)
);
CREATE UNIQUE INDEX sliding_connection_number ON sliding_connection (number);
CREATE INDEX sliding_connection_used ON sliding_connection (used_ts);

-- What was sent, as differences (JSON): the state at one version is all those up to it. Versions that were
-- issued but never confirmed are replaced; old ones are folded into one.
CREATE TABLE sliding_sent (
    connection INTEGER NOT NULL,
    version INTEGER NOT NULL,
    difference BLOB NOT NULL,
    PRIMARY KEY (connection, version)
);
