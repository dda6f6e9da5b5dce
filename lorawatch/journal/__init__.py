"""The queue and the memory: SQLite, numbered migrations, named queries; no policy."""
