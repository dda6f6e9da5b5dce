"""Numbered migrations, forward only: each runs in one transaction with its version."""
