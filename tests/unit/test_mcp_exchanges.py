"""Every dialect says what was recorded of it, and understands what was answered."""

import json
from operator import attrgetter
from typing import get_args

import pytest

from lorawatch.config import ComfyUIMcpDestinationConfig
from lorawatch.destinations.comfyui_mcp.dialects import BY_API, DIALECTS
from lorawatch.destinations.comfyui_mcp.encoding import PiecewiseBody, frame
from lorawatch.transport.answers import payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import Answer
from tests.fakes.exchanges import EXCHANGES, Exchange

ALL = [(api, exchange) for api, exchanges in EXCHANGES.items() for exchange in exchanges]


def test_every_dialect_has_a_recorded_exchange_and_a_name_in_the_configuration() -> None:
    assert set(EXCHANGES) == {dialect.api for dialect in DIALECTS}
    known = get_args(ComfyUIMcpDestinationConfig.model_fields["api"].annotation)
    assert set(known) == {"auto", *EXCHANGES}


@pytest.mark.parametrize(("api", "exchange"), ALL, ids=[f"{api}-{exchange.part}" for api, exchange in ALL])
def test_a_call_is_sent_as_it_was_recorded(api: str, exchange: Exchange) -> None:
    dialect = BY_API[api]
    route = next(route for route in dialect.routes if route.path == exchange.route)
    tool = attrgetter(exchange.part)(dialect)
    words = {tool.parameters[word]: value for word, value in exchange.words.items() if word in tool.parameters}
    content = words.pop(tool.parameters.get("content"), "")
    body = PiecewiseBody(frame(route, tool.name, words, content_key=tool.parameters.get("content")), content.encode())
    assert json.loads(b"".join(map(bytes, body))) == exchange.request


@pytest.mark.parametrize(("api", "exchange"), ALL, ids=[f"{api}-{exchange.part}" for api, exchange in ALL])
def test_an_answer_is_understood_as_it_was_recorded(api: str, exchange: Exchange) -> None:
    answer = Answer(f"POST http://{api}", exchange.status, json.dumps(exchange.answer).encode(), "application/json")
    if not isinstance(exchange.means, Failure):
        assert payload_of(answer) == exchange.means
        return
    with pytest.raises(CallError) as error:
        payload_of(answer)
    assert error.value.failure is exchange.means
