-- End-to-end encryption: keys, to-device messages, device list changes, key backups, and the memory of
-- requests that were answered. The keys themselves are opaque JSON. The rows of devices are in 002.

-- The identity keys a device published: its JSON without `unsigned`, with every signature its owner made.
CREATE TABLE device_keys (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- One-time keys not yet claimed. `batch` counts the uploads of a device: lower ones are given out first.
CREATE TABLE one_time_key (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    batch INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);
CREATE INDEX one_time_key_oldest ON one_time_key (user_id, device_id, algorithm, batch, key_id);

-- Digests of keys that were claimed lately: an upload that is repeated because its answer was lost must
-- not offer such a key a second time.
CREATE TABLE claimed_one_time_key (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    claimed_ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);
CREATE INDEX claimed_one_time_key_ts ON claimed_one_time_key (claimed_ts);

-- The key given out when the one-time keys have run out: one for each algorithm, never deleted by use.
CREATE TABLE fallback_key (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key BLOB NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm)
);

-- A user's cross-signing keys. `usage`: master, self_signing, user_signing; `public_key` in unpadded base64.
CREATE TABLE cross_signing_key (
    user_id TEXT NOT NULL,
    usage TEXT NOT NULL,
    public_key TEXT NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (user_id, usage)
);

-- Signatures users made about the master keys of others. Only the signer may see them.
CREATE TABLE user_signature (
    signer TEXT NOT NULL,
    signer_key_id TEXT NOT NULL,
    target_user_id TEXT NOT NULL,
    target_key TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (signer, target_user_id, target_key, signer_key_id)
);

-- The stream "device_list", one row a change, however many users must hear of it. `device_id` is empty when
-- the cross-signing keys changed; `reader` names the only user who is to hear, NULL everybody in a room
-- with the user.
CREATE TABLE device_list_change (
    position INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    reader TEXT,
    PRIMARY KEY (position, user_id, device_id)
);
CREATE INDEX device_list_change_user ON device_list_change (user_id, position);
CREATE INDEX device_list_change_reader ON device_list_change (reader, position) WHERE reader IS NOT NULL;

-- To-device messages that wait for their device: the whole event as sync serves it.
CREATE TABLE to_device_message (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
);

-- To-device messages for other servers: the content of an m.direct_to_device EDU, until it is delivered.
CREATE TABLE outbox_to_device (
    destination TEXT NOT NULL,
    position INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    edu BLOB NOT NULL,
    PRIMARY KEY (destination, position, message_id)
);

-- Answers to requests with a transaction ID, so that a repeated one does nothing and gets the same answer.
-- `device_id` is empty where a token has none.
CREATE TABLE client_transaction (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    response BLOB NOT NULL,
    ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, endpoint, txn_id)
);
CREATE INDEX client_transaction_ts ON client_transaction (ts);

-- Versions of a user's key backup; the highest one not deleted is the current one. Numbers are never used
-- again, so deleted versions keep their row. `etag` moves with every change of the sessions, `key_count`
-- is their number.
CREATE TABLE key_backup_version (
    user_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data BLOB NOT NULL,
    etag INTEGER NOT NULL,
    key_count INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    PRIMARY KEY (user_id, version)
);

-- The encrypted session keys in a backup.
CREATE TABLE key_backup_session (
    user_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    is_verified INTEGER NOT NULL,
    first_message_index INTEGER NOT NULL,
    forwarded_count INTEGER NOT NULL,
    session_data BLOB NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
);
