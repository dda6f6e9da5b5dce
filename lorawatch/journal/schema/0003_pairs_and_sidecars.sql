-- The two halves of a Wan 2.2 LoRA, each with its latest accepted version. `is_reported`: a half was alone for too
-- long, and that was said.
CREATE TABLE pair (
    pair_id           TEXT PRIMARY KEY,
    high_artifact_id  INTEGER REFERENCES artifact,
    low_artifact_id   INTEGER REFERENCES artifact,
    begun_at_ms       INTEGER NOT NULL,
    is_reported       INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX pair_alone ON pair (begun_at_ms)
    WHERE is_reported = 0 AND (high_artifact_id IS NULL OR low_artifact_id IS NULL);

-- What lorawatch wrote beside a delivered file. `sha256` is that of the sidecar as it was meant to be; without a
-- fingerprint it may not have been written. `beside_sha256` is that of the delivered file it belongs to.
CREATE TABLE sidecar (
    destination_id  INTEGER NOT NULL REFERENCES destination,
    name            BLOB NOT NULL,
    remote_name     BLOB NOT NULL,
    sha256          TEXT NOT NULL,
    fingerprint     TEXT,
    beside_sha256   TEXT NOT NULL,
    PRIMARY KEY (destination_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX sidecar_by_file ON sidecar (destination_id, remote_name);

-- Deliveries that have arrived and whose sidecars are to be written, or to be renewed when a better picture comes.
CREATE TABLE sidecar_due (
    delivery_id      INTEGER PRIMARY KEY REFERENCES delivery,
    destination_id   INTEGER NOT NULL REFERENCES destination,
    next_look_at_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX sidecar_due_soon ON sidecar_due (destination_id, next_look_at_ms);

-- What a destination took (kinds, families) when what was known of a watched directory was last planned for it.
ALTER TABLE pairing ADD COLUMN wants TEXT NOT NULL DEFAULT '';
