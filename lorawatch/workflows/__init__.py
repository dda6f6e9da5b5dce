"""Ready-to-run ComfyUI workflows, one recipe per family of base models. Pure: data in, a JSON document out."""
