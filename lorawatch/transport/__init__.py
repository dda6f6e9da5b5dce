"""The hands: the only rooms that rename files, copy bytes, speak HTTP or start processes."""
