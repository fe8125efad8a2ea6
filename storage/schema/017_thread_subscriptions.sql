-- Which threads people follow (MSC4306), one row for each user and thread with their last word on it. `thread`
-- is the ID of its root. `subscribed` is 0 (not any more), 1 (by hand) or 2 (automatically); `unsubscribed_at`
-- is the position of the last unsubscription: what had arrived by then subscribes nobody automatically again.
CREATE TABLE thread_subscription (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    thread TEXT NOT NULL,
    subscribed INTEGER NOT NULL,
    unsubscribed_at INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id, thread)
);
CREATE INDEX thread_subscription_position ON thread_subscription (user_id, position);
