"""What every test relies on: which tests run for whom, and how deep the fuzzing goes."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from lorawatch.transport import holding
from tests.docker_engine import Engine

IS_ROOT = os.geteuid() == 0
IS_SYSTEM_REQUIRED = os.environ.get("LORAWATCH_REQUIRE_SYSTEM") == "1"


# No example database: a checkout that may not be written to must pass as well. How fast a machine makes examples says
# nothing about what is tested.
settings.register_profile("default", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the system tests out without root; say so where they are required."""
    if IS_ROOT:
        return
    if IS_SYSTEM_REQUIRED:
        raise pytest.UsageError("LORAWATCH_REQUIRE_SYSTEM=1, but the system tests need root")
    system = [item for item in items if item.get_closest_marker("system")]
    if system:
        config.hook.pytest_deselected(items=system)
        items[:] = [item for item in items if item not in system]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Turn a skipped system test into a failure where system tests are required."""
    report = yield
    assert isinstance(report, pytest.TestReport)
    if IS_SYSTEM_REQUIRED and report.skipped and item.get_closest_marker("system"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but LORAWATCH_REQUIRE_SYSTEM=1: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def nothing_is_held_at_the_end() -> Iterator[None]:
    """Let go of the names that destinations of this process hold: a daemon's go with it, a test run's would warn."""
    yield
    for name in tuple(holding._held):
        holding.release(name)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A Docker that all tests share which do not end it."""
    engine = Engine()
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()
