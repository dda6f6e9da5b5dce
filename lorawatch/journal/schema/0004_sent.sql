-- Set just before the bytes of a delivery get their name: whatever became of the attempt, what stands there is ours.
ALTER TABLE delivery ADD COLUMN is_sent INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET is_sent = CASE WHEN carried_bytes IS NULL THEN attempt > 0 ELSE carried_bytes > 0 END;
