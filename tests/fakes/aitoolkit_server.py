"""AI Toolkit's MCP server, documented and current: lists models of a directory and gives their bytes back."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

from tests.fakes.mcp_server import Json, McpServer, ToolError


class AIToolkitServer(McpServer):
    """`dialect` is "documented" or "current". Lists the top level only, as the real one does."""

    def tools(self) -> dict[str, Callable[[Json], Json]]:
        if self.dialect == "documented":
            return {"list-exported-models": self._list_models, "download-model": self._download_by_path}
        return {"list_exported_models": self._list_models, "download_model": self._download_by_name}

    def routes(self) -> tuple[str, ...]:
        return ("/mcp/tool",) if self.dialect == "documented" else ("/mcp/execute", "/tools/execute")

    def downloads(self) -> int:
        return self.count("download-model") + self.count("download_model")

    def _list_models(self, _: Json) -> Json:
        models = [self.entry(name) for name in sorted(os.listdir(self.directory))]
        for model in models:
            model["path"] = str(self.directory / model.pop("filename"))
        return {"models": models}

    def _download_by_path(self, arguments: Json) -> Json:
        return self._model(self.directory / arguments["model_path"])

    def _download_by_name(self, arguments: Json) -> Json:
        return self._model(self.directory / f"{arguments['model_name']}.safetensors")

    def _model(self, path: Path) -> Json:
        if not path.is_file():
            raise ToolError("Model not found")
        data = base64.b64encode(path.read_bytes()).decode()
        return {"status": "success", "model": path.stem, "data": data, "size": path.stat().st_size}
