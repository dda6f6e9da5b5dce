"""Bytes to facts: what is this file, is it whole, what is in it."""
