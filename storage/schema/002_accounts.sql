-- Accounts, their devices, and the tokens they are let in with. No token is stored itself, only its SHA-256:
-- a stolen copy of the database lets nobody in.

-- One row for each local user, deactivated ones included: an ID is never given out twice. `password` is the
-- encoded hash (NULL: no password login). Flags are 0 or 1; `parting`: deactivated, and still to leave its rooms.
CREATE TABLE account (
    user_id TEXT NOT NULL PRIMARY KEY,
    password TEXT,
    created_ts INTEGER NOT NULL,
    is_admin INTEGER NOT NULL,
    is_guest INTEGER NOT NULL,
    locked INTEGER NOT NULL,
    suspended INTEGER NOT NULL,
    deactivated INTEGER NOT NULL,
    parting INTEGER NOT NULL,
    erased INTEGER NOT NULL
);

-- The devices people are signed in with. What was last seen of one is written about once a minute.
CREATE TABLE device (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    display_name TEXT,
    created_ts INTEGER NOT NULL,
    last_seen_ts INTEGER,
    last_seen_ip TEXT,
    last_seen_user_agent TEXT,
    PRIMARY KEY (user_id, device_id)
);

-- An access token, with the refresh token that was given out beside it. `replaces` is the row the client
-- refreshed to get this one: it stays good until this one is first used, then its row goes. The access token
-- ends at `expires_ts`, the row stays as long as it can be refreshed.
CREATE TABLE access_token (
    token_id INTEGER NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    device_id TEXT,
    created_ts INTEGER NOT NULL,
    expires_ts INTEGER,
    refresh_hash BLOB UNIQUE,
    refresh_expires_ts INTEGER,
    session_expires_ts INTEGER,
    replaces INTEGER
);
CREATE INDEX access_token_device ON access_token (user_id, device_id);
CREATE INDEX access_token_replaces ON access_token (replaces);

-- Tokens for `m.login.token`, good for one login.
CREATE TABLE login_token (
    hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_ts INTEGER NOT NULL
);

-- Tokens administrators give out to people who may make an account. NULL: without limit, without end.
CREATE TABLE registration_token (
    token TEXT NOT NULL PRIMARY KEY,
    uses_allowed INTEGER,
    completed INTEGER NOT NULL,
    expiry_ts INTEGER
);
