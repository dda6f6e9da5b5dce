-- At a start everything that is known of one directory after the other is asked for: in the order of the rows that
-- takes about four fifths of the time (measured with 100,000 files).
CREATE TABLE file_by_directory (
    root           BLOB NOT NULL,
    directory      BLOB NOT NULL,
    name           BLOB NOT NULL,
    inode          INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    mtime_ns       INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (
        state IN ('settling', 'incomplete', 'unreadable', 'rejected', 'skipped', 'ignored', 'accepted')),
    code           TEXT,
    reason         TEXT,
    verdict_key    TEXT NOT NULL,
    artifact_id    INTEGER REFERENCES artifact,
    is_backlog     INTEGER NOT NULL,
    changed_at_ms  INTEGER NOT NULL,
    read_bytes     INTEGER,  -- how far it has been read that is being checked; NULL: nobody reads it
    PRIMARY KEY (directory, name)
) STRICT, WITHOUT ROWID;
INSERT INTO file_by_directory
    SELECT root, directory, name, inode, size_bytes, mtime_ns, state, code, reason, verdict_key, artifact_id,
           is_backlog, changed_at_ms, read_bytes FROM file ORDER BY directory, name;
DROP TABLE file;
ALTER TABLE file_by_directory RENAME TO file;
CREATE INDEX file_needing_attention ON file (state, is_backlog, mtime_ns DESC) WHERE state <> 'accepted';
