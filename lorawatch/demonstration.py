"""The life of one LoRA in a scratch directory, with the real engine. Behind `demo`.

It runs on the main thread like the daemon does, makes its own directories and touches nothing else.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable

from safetensors.numpy import save_file

from lorawatch.config import Config, DirectoryDestinationConfig, WatchConfig
from lorawatch.config_loading import Loaded
from lorawatch.daemon import Daemon
from lorawatch.inspection.lean_numpy import np
from lorawatch.journal import views

# A laptop needs 0.1 s; whoever waits longer than this wants to know why.
PATIENCE_SECONDS = 10.0
_FILE_NAME = "pixel_cat_000000250.safetensors"


def demonstrate(say: Callable[[str], None], *, is_kept: bool) -> bool:
    """Make a LoRA, drop it in a watched folder, watch it arrive; return whether it did."""
    home = tempfile.mkdtemp(prefix="lorawatch-demo-")
    try:
        return _show_life(home, say)
    finally:
        if is_kept:
            say(f"Everything is in {home}.")
        else:
            shutil.rmtree(home)
            say("All of it is removed again; with --keep it stays. Next: lorawatch init")


def _show_life(home: str, say: Callable[[str], None]) -> bool:
    outputs, loras = os.path.join(home, "outputs"), os.path.join(home, "loras")
    os.makedirs(os.path.join(outputs, "pixel_cat"))
    os.makedirs(loras)
    destination = DirectoryDestinationConfig(name="comfyui", kind="directory", directory=loras, min_free_bytes=0)
    config = Config(
        state_directory=os.path.join(home, "state"),
        watch=WatchConfig(directories=(outputs,)),
        destinations=(destination,),
    )
    say(f"Watching {outputs}, delivering to {loras}.")
    with Daemon(Loaded(config, None)) as daemon:
        daemon.start()
        is_delivered, started = _wait(lambda: daemon.service.is_ready), time.monotonic()
        if is_delivered:
            say("Now a trainer saves a LoRA:")
            make_lora(os.path.join(outputs, "pixel_cat", _FILE_NAME))
            is_delivered = _wait(lambda: _delivered_count(daemon) == 1)
        seconds = time.monotonic() - started
        daemon.stop()
    if is_delivered:
        say(f"From the save to verified in {seconds:.2f} s: {os.path.join(loras, _FILE_NAME)}")
    else:
        say(f"It did not arrive within {PATIENCE_SECONDS:.0f} s; the events above say why.")
    return is_delivered


def make_lora(path: str) -> None:
    """Write a small rank 16 LoRA for Flux.1, as AI Toolkit would."""
    random = np.random.default_rng(seed=1)
    tensors = {}
    for block in range(8):
        for part in ("attn.to_q", "attn.to_k", "attn.to_v"):
            prefix = f"transformer.transformer_blocks.{block}.{part}"
            tensors[f"{prefix}.lora_A.weight"] = random.normal(size=(16, 3072)).astype(np.float16)
            tensors[f"{prefix}.lora_B.weight"] = random.normal(size=(3072, 16)).astype(np.float16)
    metadata = {
        "format": "pt",
        "ss_base_model_version": "flux.1",
        "ss_output_name": "pixel_cat",
        "ss_tag_frequency": '{"1_pixel_cat": {"pixel_cat": 1}}',
        "training_info": '{"step": 250, "epoch": 5}',
    }
    save_file(tensors, path, metadata=metadata)


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _delivered_count(daemon: Daemon) -> int:
    with daemon.journal.read() as connection:
        return views.counts(connection).get("delivered", 0)
