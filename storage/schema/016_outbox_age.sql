-- When a message for another server's device was sent: it is given up when it is old.
ALTER TABLE outbox_to_device ADD COLUMN ts INTEGER NOT NULL DEFAULT 0;
@sqlite UPDATE outbox_to_device SET ts = 1000 * strftime('%s', 'now');
@postgres UPDATE outbox_to_device SET ts = 1000 * CAST(extract(epoch FROM now()) AS INTEGER);
