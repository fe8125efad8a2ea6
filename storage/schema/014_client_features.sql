-- What clients use beside rooms: OpenID tokens, delayed events.

-- Tokens by which a third party learns who somebody is, kept as their SHA-256, until they expire.
CREATE TABLE openid_token (
    hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_ts INTEGER NOT NULL
);
CREATE INDEX openid_token_expires ON openid_token (expires_ts);
CREATE INDEX openid_token_user ON openid_token (user_id);

-- Events to be sent later. `content` is the JSON object; `state_key` is NULL for messages. Times are
-- milliseconds since 1970: when it was scheduled or last restarted, and when it is to be sent. Finalised
-- ones are kept for a while: with the event's ID if sent, with the `error` if that failed, cancelled if with
-- neither. `txn_id` makes scheduling idempotent.
CREATE TABLE delayed_event (
    delay_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    txn_id TEXT,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    content BLOB NOT NULL,
    delay_ms INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    send_at INTEGER NOT NULL,
    finalised_ts INTEGER,
    event_id TEXT,
    error BLOB
);
CREATE INDEX delayed_event_due ON delayed_event (send_at) WHERE finalised_ts IS NULL;
CREATE INDEX delayed_event_user ON delayed_event (user_id, finalised_ts);
CREATE INDEX delayed_event_finalised ON delayed_event (finalised_ts) WHERE finalised_ts IS NOT NULL;
CREATE UNIQUE INDEX delayed_event_txn ON delayed_event (user_id, device_id, room_id, txn_id, type)
    WHERE txn_id IS NOT NULL;
