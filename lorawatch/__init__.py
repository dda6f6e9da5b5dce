"""Watch AI Toolkit's outputs and deliver every finished LoRA to ComfyUI, verified."""

__version__ = "0.1.0"
