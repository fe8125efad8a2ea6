-- What clients use beside rooms: OpenID tokens.

-- Tokens by which a third party learns who somebody is, kept as their SHA-256, until they expire.
CREATE TABLE openid_token (
    hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_ts INTEGER NOT NULL
);
CREATE INDEX openid_token_expires ON openid_token (expires_ts);
CREATE INDEX openid_token_user ON openid_token (user_id);
