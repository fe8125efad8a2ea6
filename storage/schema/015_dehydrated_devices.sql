-- The one device of a user that is not signed in anywhere but waits to be rehydrated (MSC3814). `data` is the
-- JSON object with its encrypted private keys; its public ones are where those of all devices are.
CREATE TABLE dehydrated_device (
    user_id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    data BLOB NOT NULL
);
