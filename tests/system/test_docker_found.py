"""`init` and `doctor` beside a real Docker: what is in containers, what is mounted into them, what is wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorawatch.doctor.examination import examine
from lorawatch.finding import containers, directories
from tests.docker_engine import LORAS, Engine

pytestmark = pytest.mark.system


@pytest.fixture
def engine(docker_engine: Engine) -> Iterator[Engine]:
    """The Docker that all share, without what a test put there: `init` would find it in the next one."""
    yield docker_engine
    names = docker_engine.docker("ps", "--all", "--format", "{{.Names}}").split()
    docker_engine.docker("rm", "--force", *(name for name in names if name.startswith("found-")))


def table(engine: Engine, container: str) -> str:
    return (
        f'[[destinations]]\nname = "comfyui"\nkind = "docker"\ncontainer = "{container}"\ndirectory = "{LORAS}"\n'
        f'docker_host = "{engine.host}"\nmin_free_bytes = 0\n'
    )


def look(tmp_path: Path, engine: Engine, container: str) -> list[dict[str, Any]]:
    """Return what a doctor finds about this container."""
    (tmp_path / "outputs").mkdir(exist_ok=True)
    file = tmp_path / "doctor.toml"
    file.write_text(f'[watch]\ndirectories = ["{tmp_path / "outputs"}"]\n{table(engine, container)}')
    found = examine(str(file), {"HOME": str(tmp_path)}, seconds=60)
    return [finding.document() for finding in found if finding.check == "docker"]


def test_a_comfyui_in_a_container_is_found_with_the_directory_inside(engine: Engine) -> None:
    engine.run("found-comfyui")
    engine.run("found-other")
    found = {each.name: each for each in containers.running(str(engine.socket))}
    assert found["found-comfyui"].lora_directory == LORAS
    assert found["found-other"].lora_directory == ""


def test_what_is_mounted_into_a_container_is_found_where_it_is_here(engine: Engine, tmp_path: Path) -> None:
    outputs, models = tmp_path / "trained", tmp_path / "models"
    outputs.mkdir()
    (models / "loras").mkdir(parents=True)
    mounts = ("--volume", f"{outputs}:/app/ai-toolkit/output", "--volume", f"{models}:/comfyui/models")
    engine.run("found-mounts", "busybox", *mounts)
    (container,) = [each for each in containers.running(str(engine.socket)) if each.name == "found-mounts"]
    found, loras = directories.of_mounts(container.mounts, "the container found-mounts")
    assert [place.path for place in found] == [str(outputs)]
    assert [place.path for place in loras] == [str(models / "loras")]


def test_a_container_that_works_stopped_or_is_missing_is_told_apart(engine: Engine, tmp_path: Path) -> None:
    engine.run("found-works")
    before = engine.docker("exec", "found-works", "find", LORAS)
    works = look(tmp_path, engine, "found-works")
    assert {each["level"] for each in works} == {"ok"}
    assert engine.docker("exec", "found-works", "find", LORAS) == before
    engine.docker("stop", "--time", "0", "found-works")
    (stopped,) = look(tmp_path, engine, "found-works")
    assert (stopped["code"], stopped["level"]) == ("container-stopped", "error")
    assert "docker start found-works" in str(stopped["fix"])
    (missing,) = look(tmp_path, engine, "nowhere")
    assert missing["code"] == "container-missing"
