"""ComfyUI itself: its own HTTP API."""
