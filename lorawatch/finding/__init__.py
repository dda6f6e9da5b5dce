"""What is on this machine already: AI Toolkit's outputs, ComfyUI's LoRA directories, servers. It only looks."""
