"""The client of ComfyUI's own API, against a real server that answers as ComfyUI does."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorawatch.comfyui.client import ComfyUI
from lorawatch.domain.comfyui import Queue
from lorawatch.domain.errors import ComfyUIDownError, ComfyUIError, StoppedError
from tests.factories import lora_bytes
from tests.fakes.comfyui_server import PNG, ComfyUIServer, comfyui_server
from tests.fakes.raw_server import RawServer
from tests.integration.test_http_hostile import certificate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ComfyUIServer]:
    with comfyui_server(tmp_path) as server:
        yield server


@pytest.fixture
def comfyui(server: ComfyUIServer) -> ComfyUI:
    return ComfyUI(server.url)


def put(server: ComfyUIServer, name: str, content: bytes, folder: str = "loras") -> Path:
    path = Path(server.folders[folder].paths[0]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def graph_with(name: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
        "2": {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": ["1", 0], "lora_name": name, "strength_model": 1.0},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 2], "filename_prefix": "lorawatch/cat"}},
    }


def test_what_is_in_a_folder_is_listed_with_its_size_and_time(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    path = put(server, "people/cat.safetensors", lora_bytes())
    assert comfyui.listing("loras") == ["people/cat.safetensors"]
    files = comfyui.files("loras")
    assert files is not None
    assert [(each.name, each.size_bytes) for each in files] == [("people/cat.safetensors", path.stat().st_size)]
    assert files[0].modified_at == pytest.approx(path.stat().st_mtime)


def test_a_folder_that_it_does_not_know_is_no_error(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    assert comfyui.listing("nosuch") is None
    assert comfyui.files("nosuch") is None
    server.has_experiment = False
    assert comfyui.files("loras") is None


def test_a_missing_directory_is_an_error_of_comfyui(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    os.rmdir(server.folders["loras"].paths[0])
    with pytest.raises(ComfyUIError) as raised:
        comfyui.listing("loras")
    assert not isinstance(raised.value, ComfyUIDownError)
    assert raised.value.code == "comfyui-error"
    assert "HTTP 500" in raised.value.message


@pytest.mark.parametrize("others", [0, 30])
def test_the_probe_tells_whether_a_lora_can_be_chosen_and_queues_nothing(
    server: ComfyUIServer, comfyui: ComfyUI, others: int
) -> None:
    for number in range(others):
        put(server, f"other-{number}.safetensors", b"")
    put(server, "cat.safetensors", lora_bytes())
    assert comfyui.can_choose_lora("cat.safetensors") is True
    assert comfyui.can_choose_lora("dog.safetensors") is False
    assert comfyui.queue() == Queue(0, 0)
    assert not server.history


def test_on_windows_a_lora_in_a_sub_directory_can_be_chosen_too(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    put(server, "mine\\cat.safetensors", lora_bytes())  # here a name of its own, listed as Windows lists a path
    assert comfyui.listing("loras") == ["mine/cat.safetensors"]
    assert comfyui.can_choose_lora("mine/cat.safetensors") is True
    assert comfyui.can_choose_lora("mine/dog.safetensors") is False


def test_a_certificate_of_ones_own_is_told_with_what_makes_it_believed(tmp_path: Path) -> None:
    with (
        RawServer(lambda caller: caller.close(), tls=certificate(tmp_path)) as server,
        pytest.raises(ComfyUIDownError) as raised,
    ):
        ComfyUI(server.url).listing("loras")
    assert "TLS failed" in raised.value.message
    assert "$REQUESTS_CA_BUNDLE" in raised.value.fix


def test_a_comfyui_without_the_nodes_of_the_probe_cannot_tell(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    server.lacks_nodes = ("PreviewAny",)
    assert comfyui.can_choose_lora("cat.safetensors") is None


def test_a_file_that_cannot_be_read_is_told_from_one_without_metadata(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    put(server, "cat.safetensors", lora_bytes())
    put(server, "bare.safetensors", (2).to_bytes(8, "little") + b"{}")
    put(server, "broken.safetensors", (99).to_bytes(8, "little") + b"not a header")
    assert comfyui.can_read("loras", "cat.safetensors")
    assert comfyui.can_read("loras", "bare.safetensors")
    assert not comfyui.can_read("loras", "broken.safetensors")


def test_the_old_weights_are_used_until_the_memory_is_freed(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    path = put(server, "cat.safetensors", b"old")
    assert server.weights("cat.safetensors") == b"old"
    path.write_bytes(b"new")
    assert server.weights("cat.safetensors") == b"old"
    comfyui.free()
    assert server.weights("cat.safetensors") == b"new"


def test_the_queue_is_told_also_by_the_route_that_knows_the_sum_alone(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    server.be_busy(running=1, pending=2)
    assert comfyui.queue() == Queue(1, 2)
    server.failing["/queue"] = 404
    assert comfyui.queue() == Queue(1, 2)
    server.failing["/prompt"] = 404
    with pytest.raises(ComfyUIError):
        comfyui.queue()


def test_the_choices_of_an_input_are_those_of_its_folder(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    put(server, "base.safetensors", b"", folder="checkpoints")
    assert comfyui.choices("CheckpointLoaderSimple", "ckpt_name") == ["base.safetensors"]
    assert comfyui.choices("KSampler", "sampler_name") is not None
    assert comfyui.choices("KSampler", "steps") is None
    assert comfyui.choices("NoSuchNode", "x") is None


def test_a_graph_is_computed_and_its_picture_fetched(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    put(server, "base.safetensors", b"", folder="checkpoints")
    put(server, "cat.safetensors", lora_bytes())
    server.is_holding = True
    prompted = comfyui.queue_prompt(graph_with("cat.safetensors"))
    assert prompted.prompt_id is not None
    assert comfyui.history(prompted.prompt_id) is None
    assert not comfyui.queue().is_empty
    server.compute()
    history = comfyui.history(prompted.prompt_id)
    assert history is not None
    assert history.is_success
    pieces: list[bytes] = []
    comfyui.view(history.images[0], pieces.append)
    assert b"".join(pieces) == PNG


def test_a_graph_that_fails_says_why(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    put(server, "base.safetensors", b"", folder="checkpoints")
    put(server, "cat.safetensors", lora_bytes())
    server.failure = "CUDA out of memory"
    prompted = comfyui.queue_prompt(graph_with("cat.safetensors"))
    assert prompted.prompt_id is not None
    history = comfyui.history(prompted.prompt_id)
    assert history is not None
    assert not history.is_success
    assert history.reason == "KSampler: CUDA out of memory"


def test_a_graph_that_is_refused_names_node_and_input(comfyui: ComfyUI) -> None:
    prompted = comfyui.queue_prompt(graph_with("cat.safetensors"))
    assert prompted.prompt_id is None
    assert prompted.type == "prompt_outputs_failed_validation"
    assert {(each.node_id, each.class_type, each.type, each.input_name) for each in prompted.node_errors} == {
        ("1", "CheckpointLoaderSimple", "value_not_in_list", "ckpt_name"),
        ("2", "LoraLoaderModelOnly", "value_not_in_list", "lora_name"),
    }
    assert comfyui.queue_prompt({"1": {"class_type": "NoSuch", "inputs": {}}}).type == "invalid_prompt"
    empty = comfyui.queue_prompt({"1": {"class_type": "VAELoader", "inputs": {}}})
    assert (empty.type, empty.node_errors) == ("prompt_no_outputs", ())


def test_version_and_devices_are_told(comfyui: ComfyUI) -> None:
    system = comfyui.system()
    assert (system.version, system.devices) == ("0.3.64", ("cpu",))


def test_a_comfyui_that_does_not_answer_is_down(server: ComfyUIServer) -> None:
    server.stop()
    with pytest.raises(ComfyUIDownError) as raised:
        ComfyUI(server.url).listing("loras")
    assert raised.value.code == "comfyui-unreachable"
    assert raised.value.fix
    server.start()
    server.hang()
    with pytest.raises(ComfyUIDownError, match="no answer in time"):
        ComfyUI(server.url, read_timeout_seconds=0.05).listing("loras")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_proxy_before_a_stopped_comfyui_means_down(server: ComfyUIServer, comfyui: ComfyUI, status: int) -> None:
    server.failing["/"] = status
    with pytest.raises(ComfyUIDownError):
        comfyui.free()


def test_something_else_than_a_comfyui_is_no_comfyui(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    server.failing["/models"] = 200  # a text
    with pytest.raises(ComfyUIError, match="no JSON"):
        comfyui.listing("loras")
    server.failing = {"/system_stats": 404}
    with pytest.raises(ComfyUIError, match="not as ComfyUI does"):
        comfyui.system()


def test_asking_ends_when_the_daemon_stops(server: ComfyUIServer, comfyui: ComfyUI) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        comfyui.listing("loras", stop=stop)
    with pytest.raises(StoppedError):
        comfyui.free(stop=stop)
    assert server.times_freed == 0
