-- How many bytes were there when the present attempt began: an upload that was taken up again has not carried them now.
ALTER TABLE delivery ADD COLUMN begun_bytes INTEGER NOT NULL DEFAULT 0;
-- How far a file has been read that is being checked; NULL: nobody reads it.
ALTER TABLE file ADD COLUMN read_bytes INTEGER;
