-- One-time keys are numbered as they come, and claiming them only moves a number: see storage.device_keys.

-- The keys of a device and algorithm that can be claimed are those numbered from `next` to `last`.
@sqlite CREATE TABLE one_time_queue (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    next INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm)
);
-- With room in each page for the next version of its rows.
@postgres CREATE TABLE one_time_queue (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    next INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm)
) WITH (fillfactor = 50);

-- One-time keys. Those claimed last stay, lest an upload that is repeated brings one back.
CREATE TABLE numbered_one_time_key (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, number)
);
INSERT INTO numbered_one_time_key
    SELECT user_id, device_id, algorithm, key_id,
        row_number() OVER (PARTITION BY user_id, device_id, algorithm ORDER BY batch, key_id), key
    FROM one_time_key;
INSERT INTO one_time_queue
    SELECT user_id, device_id, algorithm, 1, max(number) FROM numbered_one_time_key
    GROUP BY user_id, device_id, algorithm;
DROP TABLE one_time_key;
DROP TABLE claimed_one_time_key;
ALTER TABLE numbered_one_time_key RENAME TO one_time_key;
