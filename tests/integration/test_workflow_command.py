"""`workflow` as people call it: with real files, a real journal, and a ComfyUI that checks graphs and computes them.

The command runs in the test's own process where nothing depends on its being one: that is ten times as quick.
"""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lorawatch.cli.program import program
from tests.factories import Tensor, aitoolkit_metadata, broken, write_lora
from tests.fakes.comfyui_server import PNG, ComfyUIServer, comfyui_server
from tests.process import PROJECT, Finished, Lorawatch
from tests.scenes import Scene, eventually, names, scene

__all__ = ["scene"]

NAME = "cat_000000250.safetensors"
FLUX_FILES = {
    "diffusion_models": ["flux1-dev.safetensors"],
    "text_encoders": ["clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"],
    "vae": ["ae.safetensors"],
}
WAN_FILES = {
    "diffusion_models": [f"wan/wan2.2_t2v_{noise}_noise_14B_fp8_scaled.safetensors" for noise in ("high", "low")],
    "text_encoders": ["umt5_xxl_fp8_e4m3fn_scaled.safetensors"],
    "vae": ["wan_2.1_vae.safetensors"],
}


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[ComfyUIServer]:
    with comfyui_server(tmp_path / "comfyui") as server:
        yield server


def put(server: ComfyUIServer, files: dict[str, list[str]]) -> None:
    for folder, wanted in files.items():
        for name in wanted:
            path = Path(server.folders[folder].paths[0], name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"model")


def put_lora(server: ComfyUIServer, name: str = NAME, **options: Any) -> Path:
    path = Path(server.folders["loras"].paths[0], name)
    write_lora(path, **options)
    return path


def workflow(tmp_path: Path, *words: str) -> Finished:
    environ = {"LORAWATCH_STATE_DIRECTORY": str(tmp_path / "state"), "HOME": str(tmp_path)}
    with contextlib.chdir(tmp_path):
        result = CliRunner().invoke(program, ["workflow", *words], env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Finished(result.exit_code, result.stdout, result.stderr)


def classes(graph: dict[str, Any]) -> list[str]:
    return [node["class_type"] for node in graph.values()]


def node(graph: dict[str, Any], class_type: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["inputs"] for each in graph.values() if each["class_type"] == class_type)
    return found


# What is printed.


def test_a_file_gives_a_graph_on_stdout_and_nothing_else_there(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME)
    finished = Lorawatch(tmp_path).command("workflow", NAME)
    assert (finished.exit_code, finished.stderr) == (0, "")
    graph = finished.json()
    assert node(graph, "LoraLoaderModelOnly")["lora_name"] == NAME
    assert node(graph, "LoraLoaderModelOnly")["strength_model"] == 1.0
    assert [each["inputs"]["text"] for each in graph.values() if each["class_type"] == "CLIPTextEncode"] == [
        "p3rson",
        "",
    ]
    assert node(graph, "KSampler")["cfg"] == 1.0
    assert node(graph, "FluxGuidance")["guidance"] == 3.5
    assert "null" not in finished.stdout
    assert not (tmp_path / "state").exists()


def test_options_change_the_graph(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME)
    words = ["--prompt", "on a sofa", "--strength", "0.8", "--seed", "7", "--steps", "9", "--size", "512x768"]
    graph = workflow(tmp_path, NAME, *words).json()
    assert node(graph, "LoraLoaderModelOnly")["strength_model"] == 0.8
    assert node(graph, "CLIPTextEncode")["text"] == "p3rson, on a sofa"
    assert (node(graph, "KSampler")["seed"], node(graph, "KSampler")["steps"]) == (7, 9)
    assert (node(graph, "EmptySD3LatentImage")["width"], node(graph, "EmptySD3LatentImage")["height"]) == (512, 768)


@pytest.mark.parametrize(
    "words",
    [
        [], [NAME, "--size", "big"], [NAME, "--size", "100x0"], [NAME, "--steps", "0"], [NAME, "--strength", "nan"],
        [NAME, "--seed", "-1"], [NAME, "--comfyui-url", "localhost:8188"], [NAME, "--run", "--output", "nowhere"],
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(tmp_path: Path, words: list[str]) -> None:
    write_lora(tmp_path / NAME)
    finished = workflow(tmp_path, *words)
    assert (finished.exit_code, finished.stdout) == (2, "")
    assert finished.stderr


def test_a_lora_that_changes_the_text_encoder_is_loaded_for_it_too(tmp_path: Path) -> None:
    tensors = {
        f"{layer}.{half}.weight": Tensor("BF16", shape)
        for layer, (outputs, inputs) in {
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k": (1280, 768),
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
        }.items()
        for half, shape in (("lora_down", (4, inputs)), ("lora_up", (outputs, 4)))
    }
    write_lora(tmp_path / NAME, tensors=tensors, metadata=aitoolkit_metadata(family="sd_1.5"))
    graph = workflow(tmp_path, NAME).json()
    loader = next(number for number, each in graph.items() if each["class_type"] == "LoraLoader")
    assert node(graph, "CLIPTextEncode")["clip"] == [loader, 1]
    assert node(graph, "KSampler")["model"] == [loader, 0]


def test_both_halves_of_a_pair_are_in_it_whichever_is_named(tmp_path: Path) -> None:
    for half in ("high", "low"):
        write_lora(tmp_path / f"cat_{half}_noise.safetensors", family="wan_2.2_14b")
    graphs = [workflow(tmp_path, f"cat_{half}_noise.safetensors").json() for half in ("high", "low")]
    for graph in graphs:
        loras = [each["inputs"]["lora_name"] for each in graph.values() if each["class_type"] == "LoraLoaderModelOnly"]
        assert loras == ["cat_high_noise.safetensors", "cat_low_noise.safetensors"]
        assert classes(graph).count("KSamplerAdvanced") == 2


def test_half_a_pair_is_told_of_and_used_alone(tmp_path: Path) -> None:
    write_lora(tmp_path / "cat_low_noise.safetensors", family="wan_2.2_14b")
    finished = workflow(tmp_path, "cat_low_noise.safetensors")
    assert finished.exit_code == 0
    assert "pair-incomplete" in finished.stderr
    assert classes(finished.json()).count("LoraLoaderModelOnly") == 1


def test_a_pair_of_which_one_half_is_broken_gives_no_graph(tmp_path: Path) -> None:
    write_lora(tmp_path / "cat_low_noise.safetensors", family="wan_2.2_14b")
    (tmp_path / "cat_high_noise.safetensors").write_bytes(broken("data-cut"))
    finished = workflow(tmp_path, "cat_low_noise.safetensors")
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "(truncated)" in finished.stderr
    assert "cat_high_noise" in finished.stderr


# What gives no graph.


def test_a_rejected_file_gives_its_code_and_its_cure(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(broken("html"))
    finished = workflow(tmp_path, NAME)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "(html-page)" in finished.stderr
    assert "what to do: Download it again" in finished.stderr


def test_a_family_without_a_graph_is_told_with_those_that_have_one(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME, metadata=aitoolkit_metadata(family="flux.1_kontext"))
    finished = workflow(tmp_path, NAME)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "no workflow for flux.1_kontext" in finished.stderr
    assert "sdxl_1.0" in finished.stderr
    assert workflow(tmp_path, NAME, "--family", "flux.1").exit_code == 0  # its layers are those of Flux.1


def test_a_family_that_is_not_certain_is_chosen_by_a_person(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME, family="wan_2.2_14b", metadata={"format": "pt"})
    finished = workflow(tmp_path, NAME)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "wan_2.1 or wan_2.2_14b" in finished.stderr
    assert "--family wan_2.2_14b" in finished.stderr
    assert "--family wan_2.1" not in finished.stderr  # for that there is no graph
    chosen = workflow(tmp_path, NAME, "--family", "wan_2.2_14b")
    assert chosen.exit_code == 0
    assert "neither high nor low" in chosen.stderr
    refused = workflow(tmp_path, NAME, "--family", "sdxl")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "not for sdxl" in refused.stderr


def test_a_known_family_is_not_overruled(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME)
    refused = workflow(tmp_path, NAME, "--family", "sdxl_1.0")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert workflow(tmp_path, NAME, "--family", "flux").exit_code == 0


def test_what_is_no_lora_gives_no_graph(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME, tensors={"emb_params": Tensor("F32", (4, 768))}, metadata={})
    finished = workflow(tmp_path, NAME)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "(not-a-lora)" in finished.stderr


def test_a_name_that_nobody_knows_is_told(tmp_path: Path) -> None:
    finished = workflow(tmp_path, "nowhere")
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "(lora-not-found)" in finished.stderr


# Its name where it was delivered.


def deliver(scene: Scene, destination: str = "", name: str = NAME, **options: Any) -> str:
    write_lora(scene.outputs / "cat" / name, **options)
    config = scene.config(destination=destination)
    file = scene.tmp_path / "lorawatch.toml"
    file.write_text(config)
    assert Lorawatch(scene.tmp_path).command("once", "--config", str(file)).exit_code == 0
    return str(file)


def test_the_name_is_that_at_the_destination(scene: Scene) -> None:
    config = deliver(scene, 'name_template = "{family}/{stem}-{step}"')
    (delivered,) = names(scene.loras)
    assert delivered.startswith("flux.1/cat_000000250-")
    for lora in (
        str(scene.outputs / "cat" / NAME),
        delivered,
        delivered.rpartition("/")[2],
        str(scene.loras / delivered),
    ):
        finished = workflow(scene.tmp_path, lora, "--config", config)
        assert finished.exit_code == 0, finished.stderr
        assert node(finished.json(), "LoraLoaderModelOnly")["lora_name"] == delivered


def test_a_delivered_name_is_enough_when_the_trainer_has_removed_its_file(scene: Scene) -> None:
    config = deliver(scene)
    (scene.outputs / "cat" / NAME).unlink()
    finished = workflow(scene.tmp_path, "cat_000000250", "--config", config)
    assert finished.exit_code == 0
    assert node(finished.json(), "CLIPTextEncode")["text"] == "p3rson"
    (scene.loras / NAME).unlink()  # what the journal has recorded is still known
    finished = workflow(scene.tmp_path, NAME, "--config", config)
    assert finished.exit_code == 0
    assert node(finished.json(), "LoraLoader")["lora_name"] == NAME


def test_the_name_begins_below_models_loras(scene: Scene) -> None:
    below = scene.tmp_path / "comfyui" / "models" / "loras" / "mine"
    below.mkdir(parents=True)
    config = deliver(Scene(scene.tmp_path, scene.outputs, below))
    finished = workflow(scene.tmp_path, NAME, "--config", config)
    assert node(finished.json(), "LoraLoaderModelOnly")["lora_name"] == f"mine/{NAME}"


def test_a_file_needs_no_journal_that_cannot_be_read(tmp_path: Path) -> None:
    write_lora(tmp_path / NAME)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.sqlite3").write_bytes(b"no database" * 100)
    finished = Lorawatch(tmp_path).command("workflow", NAME)
    assert finished.exit_code == 0
    assert "the file's own" in finished.stderr
    assert node(finished.json(), "LoraLoaderModelOnly")["lora_name"] == NAME
    assert Lorawatch(tmp_path).command("workflow", "cat").exit_code == 1  # a name does


# What ComfyUI has.


def test_models_are_named_as_comfyui_lists_them(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, {**FLUX_FILES, "diffusion_models": ["flux/flux1-dev-fp8.safetensors"]})
    put_lora(comfyui, f"people/{NAME}")
    write_lora(tmp_path / NAME)
    finished = workflow(tmp_path, NAME, "--comfyui-url", comfyui.url)
    assert (finished.exit_code, finished.stderr) == (0, "")
    graph = finished.json()
    assert node(graph, "UNETLoader")["unet_name"] == "flux/flux1-dev-fp8.safetensors"
    assert node(graph, "DualCLIPLoader")["clip_name2"] == "t5xxl_fp8_e4m3fn.safetensors"
    assert node(graph, "LoraLoaderModelOnly")["lora_name"] == f"people/{NAME}"


def test_the_comfyui_of_the_destination_is_asked(scene: Scene, comfyui: ComfyUIServer) -> None:
    put(comfyui, {"checkpoints": ["flux1-dev-fp8.safetensors"]})
    loras = Path(comfyui.folders["loras"].paths[0])
    config = deliver(Scene(scene.tmp_path, scene.outputs, loras), f'comfyui_url = "{comfyui.url}"')
    finished = workflow(scene.tmp_path, NAME, "--config", config)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert node(finished.json(), "CheckpointLoaderSimple")["ckpt_name"] == "flux1-dev-fp8.safetensors"


def test_what_comfyui_lacks_is_told_with_where_to_get_it(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, {**FLUX_FILES, "vae": []})
    put_lora(comfyui)
    write_lora(tmp_path / NAME)
    finished = workflow(tmp_path, NAME, "--comfyui-url", comfyui.url)
    assert finished.exit_code == 0
    assert "ComfyUI has no ae.safetensors in models/vae" in finished.stderr
    assert "/vae/ae.safetensors" in finished.stderr
    assert "flux1-dev" not in finished.stderr


def test_a_comfyui_that_does_not_answer_leaves_the_usual_names(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    comfyui.stop()
    write_lora(tmp_path / NAME)
    finished = workflow(tmp_path, NAME, "--comfyui-url", comfyui.url)
    assert finished.exit_code == 0
    assert "comfyui-unreachable" in finished.stderr
    assert node(finished.json(), "UNETLoader")["unet_name"] == "flux1-dev.safetensors"


def test_another_model_can_be_asked_for(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, {"checkpoints": ["real/juggernautXL.safetensors", "anime.safetensors"]})
    write_lora(tmp_path / NAME, metadata=aitoolkit_metadata(family="sdxl"), tensors=sdxl_tensors())
    finished = workflow(tmp_path, NAME, "--comfyui-url", comfyui.url)
    assert "juggernautXL.safetensors" in finished.stderr  # what there is, to choose from
    chosen = workflow(tmp_path, NAME, "--comfyui-url", comfyui.url, "--model", "juggernautXL.safetensors")
    assert node(chosen.json(), "CheckpointLoaderSimple")["ckpt_name"] == "real/juggernautXL.safetensors"


def sdxl_tensors() -> dict[str, Tensor]:
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    return {
        f"{layer}.lora_down.weight": Tensor("BF16", (4, 2048)),
        f"{layer}.lora_up.weight": Tensor("BF16", (1280, 4)),
    }


# Computing it.


def test_run_has_it_computed_and_saves_the_picture(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, FLUX_FILES)
    lora = put_lora(comfyui)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for expected in ("cat_000000250_00001_.png", "cat_000000250_00002_.png"):
        finished = workflow(tmp_path, str(lora), "--run", "--comfyui-url", comfyui.url, "--output", str(pictures))
        assert finished.exit_code == 0, finished.stderr
        assert finished.stdout == f"{pictures / expected}\n"
        assert (pictures / expected).read_bytes() == PNG
    assert comfyui.loaded[NAME] == lora.read_bytes()


def test_run_overwrites_nothing(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, FLUX_FILES)
    lora = put_lora(comfyui)
    (tmp_path / "cat_000000250_00001_.png").write_bytes(b"mine")
    finished = workflow(tmp_path, str(lora), "--run", "--comfyui-url", comfyui.url)
    assert finished.exit_code == 0
    assert (tmp_path / "cat_000000250_00001_.png").read_bytes() == b"mine"
    assert (tmp_path / "cat_000000250_00001_-2.png").read_bytes() == PNG


def test_run_makes_a_video_of_a_pair(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, WAN_FILES)
    lora, _ = (put_lora(comfyui, f"cat_{half}_noise.safetensors", family="wan_2.2_14b") for half in ("high", "low"))
    finished = workflow(tmp_path, str(lora), "--run", "--comfyui-url", comfyui.url)
    assert finished.exit_code == 0, finished.stderr
    assert len(comfyui.loaded) == 2


def test_run_tells_which_lora_comfyui_lacks(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, FLUX_FILES)
    write_lora(tmp_path / NAME)
    finished = workflow(tmp_path, NAME, "--run", "--comfyui-url", comfyui.url)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert f"ComfyUI does not have the LoRA {NAME} (value-not-in-list)" in finished.stderr
    assert "what to do" in finished.stderr


def test_run_tells_which_models_to_download_and_where_to(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, {**FLUX_FILES, "vae": []})
    lora = put_lora(comfyui)
    finished = workflow(tmp_path, str(lora), "--run", "--comfyui-url", comfyui.url)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "ComfyUI has no ae.safetensors in models/vae (model-missing)" in finished.stderr
    assert "what to do: download https://" in finished.stderr
    assert "ae.safetensors into models/vae" in finished.stderr


def test_run_tells_of_a_comfyui_that_is_too_old(tmp_path: Path) -> None:
    with comfyui_server(tmp_path / "comfyui", lacks_nodes=("FluxGuidance",)) as comfyui:
        put(comfyui, FLUX_FILES)
        lora = put_lora(comfyui)
        finished = workflow(tmp_path, str(lora), "--run", "--comfyui-url", comfyui.url)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "FluxGuidance" in finished.stderr
    assert "(node-missing)" in finished.stderr
    assert "Update ComfyUI" in finished.stderr


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ("Allocation on device: out of memory", "workflow-failed"),
        ("argument of type 'NoneType' is not iterable", "none-type-not-iterable"),
    ],
)
def test_run_tells_why_comfyui_failed(tmp_path: Path, comfyui: ComfyUIServer, failure: str, code: str) -> None:
    put(comfyui, FLUX_FILES)
    lora = put_lora(comfyui)
    comfyui.failure = failure
    finished = workflow(tmp_path, str(lora), "--run", "--comfyui-url", comfyui.url)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert f"KSampler: {failure} ({code})" in finished.stderr
    assert "what to do" in finished.stderr


def test_run_without_a_comfyui_exits_with_3(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    comfyui.stop()
    write_lora(tmp_path / NAME)
    finished = workflow(tmp_path, NAME, "--run", "--comfyui-url", comfyui.url)
    assert (finished.exit_code, finished.stdout) == (3, "")
    assert "(comfyui-unreachable)" in finished.stderr


class Running:
    """`workflow --run` while it waits, on a pipe or on a terminal of its own."""

    def __init__(self, tmp_path: Path, *words: str, on_terminal: bool = False, **environ: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LORAWATCH_")}
        self._said = b""
        ours, theirs = pty.openpty() if on_terminal else os.pipe()
        self._ours = ours
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lorawatch", "workflow", "--run", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(PROJECT), "HOME": str(tmp_path), "TERM": "xterm", **environ,
                 "LORAWATCH_STATE_DIRECTORY": str(tmp_path / "state")},
        )  # fmt: skip
        os.close(theirs)

    def said(self) -> str:
        while select.select([self._ours], [], [], 0)[0]:
            try:
                more = os.read(self._ours, 65536)
            except OSError:  # a terminal whose other side is closed
                break
            if not more:
                break
            self._said += more
        return self._said.decode()

    def end(self) -> tuple[int, str]:
        """Return the exit code and all that was said on stderr."""
        assert self.process.stdout is not None
        assert eventually(lambda: self.said() is not None and self.process.poll() is not None)
        self.process.stdout.close()
        said = self.said()
        os.close(self._ours)
        return self.process.returncode, said


def waiting(tmp_path: Path, comfyui: ComfyUIServer, **options: Any) -> Running:
    put(comfyui, FLUX_FILES)
    lora = put_lora(comfyui)
    comfyui.is_holding = True
    running = Running(tmp_path, str(lora), "--comfyui-url", comfyui.url, **options)
    assert eventually(lambda: len(comfyui.running) == 1 and comfyui.count("GET", "/queue") > 1)
    return running


def test_run_waits_until_it_is_computed_in_plain_lines_on_a_pipe(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui)
    assert running.process.poll() is None
    comfyui.compute()
    code, said = running.end()
    assert code == 0
    assert said.splitlines()[0] == "lorawatch: computing"
    assert "\x1b" not in said
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_run_shows_a_bar_on_a_terminal(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui, on_terminal=True)
    assert eventually(lambda: "computing" in running.said())
    comfyui.compute()
    code, said = running.end()
    assert code == 0
    assert "\x1b[" in said


def test_run_shows_a_bar_without_colour_where_that_is_asked_for(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui, on_terminal=True, NO_COLOR="1")
    assert eventually(lambda: "computing" in running.said())
    comfyui.compute()
    code, said = running.end()
    assert code == 0
    assert "\x1b[3" not in said  # no colour of any kind


def test_run_shows_the_steps_as_comfyui_tells_them(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui, on_terminal=True)
    assert eventually(lambda: bool(comfyui.listeners))
    sampler = next(number for number, each in comfyui.running[0][1].items() if each["class_type"] == "KSampler")
    comfyui.tell("progress", node=sampler, value=7, max=20, prompt_id=comfyui.running[0][0])
    assert eventually(lambda: "computing: Sampler" in running.said() and "7/20" in running.said())
    comfyui.compute()
    assert running.end()[0] == 0


def test_run_does_without_steps_where_nobody_tells_them(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    comfyui.has_websocket = False
    running = waiting(tmp_path, comfyui)
    comfyui.compute()
    code, said = running.end()
    assert code == 0
    assert "computing" in said


def test_run_tells_how_many_are_queued_with_it(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    comfyui.be_busy(running=1, pending=2)
    put(comfyui, FLUX_FILES)
    comfyui.is_holding = True
    running = Running(tmp_path, str(put_lora(comfyui)), "--comfyui-url", comfyui.url)
    assert eventually(lambda: "queued, with 3 others" in running.said())
    with comfyui.lock:
        comfyui.running, comfyui.pending = [], comfyui.pending[-1:]
    comfyui.compute()
    assert running.end()[0] == 0


def test_an_interrupt_ends_the_wait_and_leaves_comfyui_at_its_work(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui)
    running.process.send_signal(signal.SIGINT)
    code, said = running.end()
    assert code == 130
    assert "not waiting any more" in said
    assert "Traceback" not in said
    assert len(comfyui.running) == 1
    assert comfyui.count("POST", "/interrupt") == 0
    assert list(tmp_path.glob("*.png")) == []


def test_run_survives_a_comfyui_that_does_not_answer_for_a_while(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui)
    comfyui.stop()
    assert eventually(lambda: "does not answer" in running.said())
    comfyui.start()
    comfyui.compute()
    code, _ = running.end()
    assert code == 0


def test_run_tells_that_a_restarted_comfyui_has_lost_it(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    running = waiting(tmp_path, comfyui)
    comfyui.be_idle()
    code, said = running.end()
    assert code == 3
    assert "(workflow-failed)" in said
    assert "run the command again" in said


def test_help_is_quick_because_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, lorawatch.cli.program;"
        "late = ('requests', 'rich', 'lorawatch.workflows', 'lorawatch.comfyui', 'lorawatch.composing');"
        "print([name for name in sys.modules if name.startswith(late)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_graph_is_what_the_server_was_sent(tmp_path: Path, comfyui: ComfyUIServer) -> None:
    put(comfyui, FLUX_FILES)
    lora = put_lora(comfyui)
    printed = workflow(tmp_path, str(lora), "--comfyui-url", comfyui.url).json()
    comfyui.is_holding = True
    running = Running(tmp_path, str(lora), "--comfyui-url", comfyui.url)
    assert eventually(lambda: bool(comfyui.running))
    assert json.loads(json.dumps(comfyui.running[0][1])) == printed
    comfyui.compute()
    assert running.end()[0] == 0
