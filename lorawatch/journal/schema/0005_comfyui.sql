-- Whether ComfyUI shows what was delivered, per name: the latest delivery of a name counts. `asked` is how often it
-- has answered without the name; without `next_ask_at_ms` nothing more is to be asked.
CREATE TABLE comfyui_listing (
    destination_id  INTEGER NOT NULL REFERENCES destination,
    remote_name     BLOB NOT NULL,
    delivery_id     INTEGER NOT NULL REFERENCES delivery,
    state           TEXT NOT NULL CHECK (state IN ('unknown', 'listed', 'not-listed')),
    code            TEXT,
    reason          TEXT,
    asked           INTEGER NOT NULL DEFAULT 0,
    next_ask_at_ms  INTEGER,
    arrived_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (destination_id, remote_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX comfyui_listing_due ON comfyui_listing (destination_id, next_ask_at_ms) WHERE next_ask_at_ms IS NOT NULL;
CREATE INDEX comfyui_listing_by_delivery ON comfyui_listing (delivery_id);
CREATE INDEX comfyui_listing_by_state ON comfyui_listing (destination_id, state);

-- Names whose bytes ComfyUI may go on using although they were replaced. Recorded before the new bytes get the name;
-- without `first_at_ms` they may not have. First and latest: of the replacements since ComfyUI was told.
CREATE TABLE comfyui_refresh (
    destination_id  INTEGER NOT NULL REFERENCES destination,
    remote_name     BLOB NOT NULL,
    first_at_ms     INTEGER,
    latest_at_ms    INTEGER,
    next_try_at_ms  INTEGER,
    PRIMARY KEY (destination_id, remote_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX comfyui_refresh_due ON comfyui_refresh (destination_id, next_try_at_ms) WHERE next_try_at_ms IS NOT NULL;
