"""What a catalogue of real models says of each: the diffusers class, the published hyperparameters, and where.

`make_key_lists.py` reads the catalogues, in an environment that has diffusers; no test does. What an entry does not
give is the default of the class, which is that of the model it was written for. The numbers of parameters of the built
models were compared with the published ones (SDXL 2.57, FLUX.1 11.9, SSD-1B 1.33, SD 3.5 large 8.06 billion, …).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Model:
    """One real model: `family` is what lorawatch calls it, `naming` the rules for its original key names."""

    slug: str
    family: str
    source: str
    class_name: str
    config: dict[str, object] = field(default_factory=dict)
    naming: str = ""  # a name in names.RULES; empty: diffusers' names are the only ones
    text_encoders: tuple[tuple[str, str], ...] = ()  # (prefix of its keys, text encoder in TEXT_ENCODERS)
    is_variant: bool = False  # another size of a family: fewer lists
    is_listed: bool = True  # False: in the table so that its neighbours are not mistaken, but without key lists


# (hidden size, layers, feed-forward): config.json of openai/clip-vit-large-patch14, of the text_encoder of
# stabilityai/stable-diffusion-2-1 (OpenCLIP ViT-H, 23 layers kept) and of text_encoder_2 of SDXL (ViT-bigG).
TEXT_ENCODERS = {"clip_l": (768, 12, 3072), "clip_h": (1024, 23, 4096), "clip_g": (1280, 32, 5120)}
