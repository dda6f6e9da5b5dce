-- Small texts that destinations and sources want to find again: a server's dialect, a publication whose end is open.
CREATE TABLE memory (
    owner          TEXT NOT NULL,
    key            TEXT NOT NULL,
    value          TEXT NOT NULL,
    changed_at_ms  INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
