"""The pure heart: nouns, ports, errors and decisions. Stdlib only; no I/O, no clock, no threads, no logging."""
