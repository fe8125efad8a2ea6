-- Sending to other servers. The follower "federation" has come to a position, up to which every server was told
-- everything, except those that lag behind: one row for each. `events` were delivered up to there, and `others`
-- (device lists, receipts) up to there.
CREATE TABLE destination_lag (
    server_name TEXT PRIMARY KEY,
    events INTEGER NOT NULL,
    others INTEGER NOT NULL
);
