"""The servers of this machine: a ComfyUI, and MCP servers for ComfyUI and AI Toolkit. `init` and `doctor` call it.

Only 127.0.0.1 is ever asked, with short time-outs, all ports side by side. The calls list things and change nothing.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

COMFYUI_PORT = 8188
# The documented ones and those of the current servers, for ComfyUI and for AI Toolkit.
MCP_PORTS = (8189, 8013, 8190, 8012)
_CONNECT_SECONDS = 0.5
_READ_SECONDS = 3.0
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Servers:
    """What answers, each as its URL; "" and () for nothing."""

    comfyui: str = ""
    uploads: tuple[str, ...] = ()  # MCP servers that take LoRAs for ComfyUI
    models: tuple[str, ...] = ()  # MCP servers that offer what AI Toolkit has trained


def ask(*, comfyui_port: int = COMFYUI_PORT, mcp_ports: Sequence[int] = MCP_PORTS) -> Servers:
    """Return the servers that answer on this machine."""
    urls = [f"http://{_HOST}:{port}" for port in mcp_ports]
    with ThreadPoolExecutor(len(urls) + 1, thread_name_prefix="ask") as pool:
        comfyui = pool.submit(is_comfyui, f"http://{_HOST}:{comfyui_port}")
        roles = list(pool.map(role_of, urls))
    return Servers(
        comfyui=f"http://{_HOST}:{comfyui_port}" if comfyui.result() else "",
        uploads=tuple(url for url, role in zip(urls, roles, strict=True) if role == "uploads"),
        models=tuple(url for url, role in zip(urls, roles, strict=True) if role == "models"),
    )


def is_comfyui(url: str) -> bool:
    """Return whether a ComfyUI answers there."""
    from lorawatch.comfyui.client import ComfyUI
    from lorawatch.domain.errors import ComfyUIError

    try:
        return ComfyUI(url, read_timeout_seconds=_READ_SECONDS).listing("loras") is not None
    except ComfyUIError:
        return False


def role_of(url: str) -> str | None:
    """Return what an MCP server is for: "uploads" to ComfyUI, or "models" of AI Toolkit; None if it is neither."""
    from lorawatch.destinations.comfyui_mcp.detection import detect
    from lorawatch.sources.aitoolkit_api import AIToolkitApi
    from lorawatch.transport.calls import CallError, Failure
    from lorawatch.transport.http import HttpClient, HttpSettings
    from lorawatch.transport.repeating import NeverStop

    http = HttpClient(
        HttpSettings(url=url, connect_timeout_seconds=_CONNECT_SECONDS, read_timeout_seconds=_READ_SECONDS, attempts=1)
    )
    try:
        AIToolkitApi(http).models(NeverStop())
    except CallError as error:
        if error.failure is Failure.NOT_CONNECTED:
            return None
    else:
        return "models"
    try:
        detect(http, "auto")
    except CallError:
        return None
    return "uploads"
