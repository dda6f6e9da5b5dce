"""ComfyUI on another machine, through one of its MCP servers."""
