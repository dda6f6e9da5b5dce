"""What may keep LoRAs from arriving, looked for before it does: one small module for each kind of check."""
