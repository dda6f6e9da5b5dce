-- Paths and names are BLOBs: a file name is bytes, and need not be UTF-8. Times are unix milliseconds UTC.
-- An inode above 2^63 is stored as the negative number with the same bits.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- A destination whose location changes is another destination: what was delivered to the old one is not there.
CREATE TABLE destination (
    destination_id  INTEGER PRIMARY KEY,
    name            TEXT NOT NULL,
    location        TEXT NOT NULL,
    kind            TEXT NOT NULL,
    is_mount_point  INTEGER,
    state           TEXT NOT NULL DEFAULT 'up' CHECK (state IN ('up', 'down', 'parked')),
    code            TEXT,
    reason          TEXT,
    next_probe_at_ms INTEGER,
    seen_at_ms      INTEGER NOT NULL,
    UNIQUE (name, location)
) STRICT;

-- `existing` applies to a watched directory and a destination the first time the pair is seen.
CREATE TABLE pairing (
    root            BLOB NOT NULL,
    destination_id  INTEGER NOT NULL REFERENCES destination,
    seen_at_ms      INTEGER NOT NULL,
    PRIMARY KEY (root, destination_id)
) STRICT, WITHOUT ROWID;

-- Under `existing = "ignore"`: the versions that were there when the pair was first seen.
CREATE TABLE ignored (
    destination_id  INTEGER NOT NULL REFERENCES destination,
    path            BLOB NOT NULL,
    inode           INTEGER NOT NULL,
    size_bytes      INTEGER NOT NULL,
    mtime_ns        INTEGER NOT NULL,
    PRIMARY KEY (path, destination_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifact (
    artifact_id    INTEGER PRIMARY KEY,
    root           BLOB NOT NULL,
    path           BLOB NOT NULL,
    inode          INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    mtime_ns       INTEGER NOT NULL,
    sha256         TEXT NOT NULL,
    facts          TEXT NOT NULL,
    is_backlog     INTEGER NOT NULL,
    accepted_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX artifact_by_path ON artifact (path);

-- The last verdict on each path, for the version that was seen. `verdict_key` names the inspector and the
-- settings that the verdict depended on.
CREATE TABLE file (
    file_id        INTEGER PRIMARY KEY,
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
    UNIQUE (directory, name)
) STRICT;
CREATE INDEX file_needing_attention ON file (state, is_backlog, mtime_ns DESC) WHERE state <> 'accepted';

CREATE TABLE delivery (
    delivery_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id        INTEGER NOT NULL REFERENCES artifact,
    destination_id     INTEGER NOT NULL REFERENCES destination,
    base_name          BLOB NOT NULL,
    remote_name        BLOB NOT NULL,
    state              TEXT NOT NULL CHECK (
        state IN ('planned', 'sending', 'waiting', 'delivered', 'failed', 'cancelled')),
    size_bytes         INTEGER NOT NULL,
    is_backlog         INTEGER NOT NULL,
    series             BLOB NOT NULL,
    step               INTEGER,
    attempt            INTEGER NOT NULL DEFAULT 0,
    sent_bytes         INTEGER NOT NULL DEFAULT 0,
    code               TEXT,
    reason             TEXT,
    next_attempt_at_ms INTEGER,
    failing_since_ms   INTEGER,
    evidence           TEXT,
    carried_bytes      INTEGER,
    is_replacement     INTEGER,
    resume             TEXT,
    keep_latest        INTEGER,  -- once it has arrived, only so many steps of its series are to stay; NULL: done
    lease_owner        TEXT,
    lease_until_ms     INTEGER,
    planned_at_ms      INTEGER NOT NULL,
    changed_at_ms      INTEGER NOT NULL,
    UNIQUE (artifact_id, destination_id)
) STRICT;
CREATE INDEX delivery_due ON delivery (destination_id, is_backlog, delivery_id DESC)
    WHERE state IN ('planned', 'waiting', 'sending');
CREATE INDEX delivery_by_name ON delivery (destination_id, remote_name);
CREATE INDEX delivery_by_series ON delivery (destination_id, series) WHERE step IS NOT NULL;
CREATE INDEX delivery_retiring ON delivery (destination_id) WHERE keep_latest IS NOT NULL;
CREATE INDEX delivery_by_state ON delivery (state, changed_at_ms DESC);

-- What lorawatch last put at a name of a destination, and for which path; without sha256 the name is only claimed.
CREATE TABLE placement (
    destination_id  INTEGER NOT NULL REFERENCES destination,
    remote_name     BLOB NOT NULL,
    path            BLOB NOT NULL,
    base_name       BLOB NOT NULL,
    sha256          TEXT,
    fingerprint     TEXT,
    changed_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (destination_id, remote_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX placement_by_path ON placement (destination_id, path, base_name, changed_at_ms DESC);
