"""The pipeline: intake (settle, inspect, plan, record), lanes (claim, carry, prove, record), service."""
