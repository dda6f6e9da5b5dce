"""What trainers write into the metadata of a file, read with distrust.

`facts` calls it; pure. Everything here is text that somebody else wrote: what has another form than expected counts
as absent, and nothing raises.
"""

import json
import re
from collections.abc import Iterator, Mapping

Metadata = Mapping[str, str]

_LARGEST_STEP = 10**12  # no training is longer, and every database and file name takes it
_MOST_WORDS = 10
# Both of kohya's trainers write the same keys. These models only musubi-tuner trains (dataset/architectures.py).
_MUSUBI_MODELS = re.compile(
    r"hunyuan_video|wan|framepack|flux_kontext|flux_2|qwen_image|kandinsky|z_image|hidream|ideogram|krea|minimax"
)
_LONGEST_WORD = 100


def step_in(metadata: Metadata) -> int | None:
    """Return the training step: AI Toolkit's training_info, its embeddings' step, kohya's ss_steps."""
    return _first_count(_training_info(metadata, "step"), metadata.get("ss_steps"), metadata.get("step"))


def epoch_in(metadata: Metadata) -> int | None:
    """Return the training epoch: AI Toolkit's training_info, kohya's ss_epoch."""
    return _first_count(_training_info(metadata, "epoch"), metadata.get("ss_epoch"))


def alpha_in(metadata: Metadata) -> float | None:
    """Return the network's alpha as kohya and its relatives write it down, or diffusers among the settings of PEFT."""
    try:
        alpha = float(metadata.get("ss_network_alpha") or _peft_alpha(metadata))
    except ValueError:
        return None
    return alpha if 0 < alpha < float("inf") else None


def _peft_alpha(metadata: Metadata) -> str:
    settings = _parsed(metadata.get("lora_adapter_metadata"))  # {"transformer.r": 16, "transformer.lora_alpha": 16, …}
    alphas = settings.items() if isinstance(settings, dict) else ()
    return next((str(value) for key, value in alphas if key.rpartition(".")[2] == "lora_alpha"), "")


def software_in(metadata: Metadata) -> str | None:
    """Return the name and version of the program that trained or wrote the file."""
    match _parsed(metadata.get("software")):
        case {"name": str(name), "version": str(version)}:
            return _clean(f"{name} {version}")
        case {"name": str(name)}:
            return _clean(name)
    if "ot_branch" in metadata or "ot_config" in metadata:
        return "OneTrainer"
    if "ss_network_module" in metadata:
        return "musubi-tuner" if _MUSUBI_MODELS.match(metadata.get("ss_base_model_version", "")) else "sd-scripts"
    return _clean(metadata.get("software", "")) or None


def trigger_words_in(metadata: Metadata, *, is_embedding: bool) -> tuple[str, ...]:
    """Return the words that call up what was trained.

    modelspec's trigger phrase; the name of an embedding; else the tags of each training folder that no other tag
    of it outnumbers, unless these are many, because then they are captions.
    """
    words = [*metadata.get("modelspec.trigger_phrase", "").split(",")]
    if is_embedding and isinstance(name := _parsed(metadata.get("name")), str):
        words.append(name)
    if not any(word.strip() for word in words):
        words = [*_leading_tags(metadata)]
    cleaned = dict.fromkeys(cleaned for word in words if (cleaned := _clean(word)))
    return tuple(cleaned)[:_MOST_WORDS]


def _leading_tags(metadata: Metadata) -> Iterator[str]:
    folders = _parsed(metadata.get("ss_tag_frequency"))
    for tags in folders.values() if isinstance(folders, dict) else ():
        if not isinstance(tags, dict):
            continue
        # What is longer than any trigger is a caption, and half of one is no word.
        counts = {tag: n for tag, n in tags.items() if type(n) is int and len(tag) <= _LONGEST_WORD}
        leading = [tag for tag, count in counts.items() if count == max(counts.values())]
        if len(leading) <= 2:
            yield from leading


def _training_info(metadata: Metadata, key: str) -> object:
    info = _parsed(metadata.get("training_info"))
    return info.get(key) if isinstance(info, dict) else None


def _first_count(*values: object) -> int | None:
    for value in values:
        number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= 12 else value
        if type(number) is int and 0 <= number <= _LARGEST_STEP:
            return number
    return None


def _parsed(text: str | None) -> object:
    """Return the JSON that a metadata value holds, or None."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _clean(word: str) -> str:
    """Return the word on one line, printable everywhere: JSON inside JSON can hide lone surrogates."""
    printable = "".join(letter if letter.isprintable() else " " for letter in word[: 2 * _LONGEST_WORD])
    return " ".join(printable.split())[:_LONGEST_WORD]
