-- Conversations: relations, threads, events by time, notifications, reports.

-- A relation also says where the child stands in its room (`depth`, `position`), when it claims to be sent
-- (`ts`), and the state it was sent in (`snapshot`, 0 for none): children are put in order, counted and
-- judged without looking at their events. What was redacted or not accepted relates to nothing.
ALTER TABLE relation ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relation ADD COLUMN ts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE relation ADD COLUMN snapshot INTEGER NOT NULL DEFAULT 0;
DELETE FROM relation WHERE NOT EXISTS (
    SELECT 1 FROM event e WHERE e.nid = relation.child AND e.status = 0 AND e.redacted_by IS NULL
);
UPDATE relation SET
    depth = (SELECT e.depth FROM event e WHERE e.nid = relation.child),
    ts = (SELECT e.ts FROM event e WHERE e.nid = relation.child),
    snapshot = (SELECT coalesce(e.state_before, 0) FROM event e WHERE e.nid = relation.child);
DROP INDEX relation_parent;
CREATE INDEX relation_parent ON relation (room, parent, rel_type, depth, position);

-- A room's threads, those with the latest message first.
CREATE INDEX relation_thread ON relation (room, depth, position) WHERE rel_type = 'm.thread';

-- The event nearest to a moment.
CREATE INDEX event_room_ts ON event (room, ts) WHERE position IS NOT NULL;

-- A user's notifications, the latest first: the rows of their own, and the rare events that light up for
-- a member like any other (bases above 3, see homeserver.protocol.push_rules.base).
CREATE INDEX push_action_latest ON push_action (user_id, position);
CREATE INDEX event_lights_up ON event (room, position) WHERE notify > 3;

-- What users reported to the administrators. `kind`: event, room or user; what it is not about is NULL.
-- `number` is a position of the stream, so none is given out twice.
CREATE TABLE report (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    reporter TEXT NOT NULL,
    room_id TEXT,
    event_id TEXT,
    reported_user TEXT,
    reason TEXT,
    score INTEGER,
    ts INTEGER NOT NULL
);
CREATE INDEX report_kind ON report (kind, number);
