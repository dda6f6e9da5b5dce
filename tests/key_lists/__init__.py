"""The making of the key lists in tests/data/key_lists, and the notation they are written in."""
