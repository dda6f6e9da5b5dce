"""An AI Toolkit API as a source: reachable, and what it offers."""

from collections.abc import Iterator

from lorawatch import humanize
from lorawatch.config import AIToolkitSourceConfig
from lorawatch.doctor.findings import Finding, error, fine, of_error, together
from lorawatch.doctor.server import client_of, words_of
from lorawatch.domain.codes import cure_of
from lorawatch.domain.errors import ConfigurationError
from lorawatch.finding import servers
from lorawatch.sources.aitoolkit_api import AIToolkitApi
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.repeating import NeverStop

CHECK = "source-server"
# What helps where the codes speak of uploads.
_WRONG_SERVER = "write AI Toolkit's MCP server as url, mostly port 8190"


def look(config: AIToolkitSourceConfig) -> Iterator[Finding]:
    """Look at one source."""
    try:
        models = AIToolkitApi(client_of(config)).models(NeverStop())
    except ConfigurationError as raised:
        yield of_error(CHECK, raised, subject=config.name)
    except CallError as raised:
        is_wrong = raised.failure in {Failure.TOOL_MISSING, Failure.NO_ROUTE, Failure.UNREADABLE}
        role = servers.role_of(config.url) if is_wrong else None
        detail = f"{config.url} is ComfyUI's MCP server, not AI Toolkit's" if role == "uploads" else raised.message
        fixes = [_WRONG_SERVER if is_wrong else raised.fix or cure_of(raised.failure.value, words_of(config))]
        yield error(CHECK, detail, fix=together(fixes), subject=config.name, code=raised.failure.value)
    else:
        yield fine(CHECK, f"{config.url} offers {humanize.count(len(models), 'model')}", subject=config.name)
