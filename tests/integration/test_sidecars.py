"""What is put beside a delivered LoRA: the right picture, what is known of it, and never over a file of another."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lorawatch.destinations.directory import DirectoryDestination
from lorawatch.domain.errors import DestinationDownError, DestinationError
from lorawatch.domain.model import Candidate, Evidence, Facts, Receipt, RemoteFile
from lorawatch.engine import sidecars
from lorawatch.engine.arriving import record_arrival
from lorawatch.engine.recording import Accepted, record_accepted
from lorawatch.engine.settings import IntakeSettings, Route
from lorawatch.engine.sidecars import LOOK_AGAIN_SECONDS, PATIENCE_SECONDS, Sidecars
from lorawatch.events import Event
from lorawatch.journal import deliveries, places
from lorawatch.journal.database import Database
from lorawatch.transport.files import version_of
from tests.factories import lora_bytes
from tests.scenes import Scene, contents, eventually, names, save_in_place, scene, small_lora

__all__ = ["scene"]

BOTH = 'sidecars = ["preview", "metadata"]'


def draw(folder: Path, name: str, content: bytes = b"", *, age_seconds: float = 100.0) -> bytes:
    """Draw a sample picture, as the trainer does; return its bytes."""
    path = folder / "samples" / name
    save_in_place(path, content or name.encode())
    at = path.stat().st_mtime - age_seconds
    os.utime(path, (at, at))
    return content or name.encode()


def test_a_lora_arrives_with_its_picture_and_what_is_known_of_it(scene: Scene) -> None:
    job = scene.outputs / "cat"
    draw(job, "1700000000000__000000500_0.jpg")
    picture = draw(job, "1700000001000__000001000_1.jpg")
    draw(job, "1700000002000__000001500_0.jpg")
    before = contents(scene.outputs)
    with scene.daemon(destination=f'name_template = "{{family}}/{{file_name}}"\n{BOTH}') as daemon:
        save_in_place(job / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        daemon.wait_for("sidecar.written", count=2)
        assert daemon.stop() == 0
    arrived = contents(scene.loras)
    document = json.loads(arrived.pop("flux.1/cat.json"))
    assert arrived == {"flux.1/cat.safetensors": small_lora(), "flux.1/cat.preview.jpg": picture}
    assert {"description", "sd version", "activation text", "notes"} == set(document)
    assert (document["sd version"], document["activation text"]) == ("flux.1", "p3rson")
    assert "step 1000" in document["description"]
    assert (scene.loras / "flux.1" / "cat.preview.jpg").stat().st_mode & 0o777 == 0o664
    assert contents(scene.outputs) == before | {"cat/cat.safetensors": small_lora()}


def test_nothing_is_put_beside_a_lora_unless_asked(scene: Scene) -> None:
    draw(scene.outputs / "cat", "1__000001000_0.jpg")
    with scene.daemon() as daemon:
        save_in_place(scene.outputs / "cat" / "cat.safetensors", small_lora())
        daemon.wait_for("delivery.delivered")
        assert daemon.stop() == 0
    assert names(scene.loras) == ["cat.safetensors"]


def test_a_new_version_gets_new_sidecars_and_those_of_the_old_one_go(scene: Scene) -> None:
    job = scene.outputs / "cat"
    draw(job, "1__000001000_0.png")
    with scene.daemon(destination=BOTH) as daemon:
        save_in_place(job / "cat.safetensors", small_lora())
        daemon.wait_for("sidecar.written", count=2)
        (job / "samples" / "1__000001000_0.png").unlink()
        picture = draw(job, "2__000001000_0.webp")
        save_in_place(job / "cat.safetensors", small_lora(1))
        daemon.wait_for("delivery.delivered", count=2)
        daemon.wait_for("sidecar.removed", remote_name="cat.preview.png")
        assert eventually(lambda: names(scene.loras) == ["cat.json", "cat.preview.webp", "cat.safetensors"])
        assert contents(scene.loras)["cat.preview.webp"] == picture
        (job / "samples" / "2__000001000_0.webp").unlink()
        save_in_place(job / "cat.safetensors", small_lora(2))
        daemon.wait_for("sidecar.removed", remote_name="cat.preview.webp")
        assert daemon.stop() == 0
    assert names(scene.loras) == ["cat.json", "cat.safetensors"]


def test_what_others_put_there_is_left_alone_at_every_version(scene: Scene) -> None:
    job = scene.outputs / "cat"
    draw(job, "1__000001000_0.png")
    (scene.loras / "cat.json").write_bytes(b"mine")
    (scene.loras / "cat.preview.png").symlink_to("nowhere")
    with scene.daemon(destination=BOTH) as daemon:
        for version in range(2):
            save_in_place(job / "cat.safetensors", small_lora(version))
            daemon.wait_for("delivery.delivered", count=version + 1)
            left = daemon.wait_for("sidecar.failed", count=2 * version + 2)
            assert (left["code"], left["level"]) == ("name-taken", "info")
        assert daemon.stop() == 0
        assert not daemon.of("sidecar.written")
    assert (scene.loras / "cat.json").read_bytes() == b"mine"
    assert os.readlink(scene.loras / "cat.preview.png") == "nowhere"


def test_sidecars_that_a_person_changed_are_theirs_from_then_on(scene: Scene) -> None:
    job = scene.outputs / "cat"
    with scene.daemon(destination='sidecars = ["metadata"]') as daemon:
        save_in_place(job / "cat.safetensors", small_lora())
        daemon.wait_for("sidecar.written")
        (scene.loras / "cat.json").write_bytes(b"my own words")
        save_in_place(job / "cat.safetensors", small_lora(1))
        daemon.wait_for("sidecar.failed", code="name-taken")
        assert daemon.stop() == 0
    assert (scene.loras / "cat.json").read_bytes() == b"my own words"


def test_send_and_once_write_them_too(scene: Scene) -> None:
    daemon = scene.daemon(destination='sidecars = ["metadata"]')
    save_in_place(scene.outputs / "one.safetensors", small_lora(1))
    assert daemon.run_once().exit_code == 0
    save_in_place(scene.tmp_path / "two.safetensors", small_lora(2))
    sent = daemon.command("send", f"--config={scene.tmp_path}/lorawatch.toml", str(scene.tmp_path / "two.safetensors"))
    assert sent.exit_code == 0
    assert names(scene.loras) == ["one.json", "one.safetensors", "two.json", "two.safetensors"]


def test_a_retired_step_takes_its_sidecars_along(scene: Scene) -> None:
    job = scene.outputs / "cat"
    with scene.daemon(watch='checkpoints = "latest:1"\nretire = true', destination='sidecars = ["metadata"]') as daemon:
        for number, step in enumerate((250, 500)):
            save_in_place(job / f"cat_{step:09}.safetensors", small_lora(step))
            daemon.wait_for("sidecar.written", count=number + 1)
        daemon.wait_for("delivery.retired")
        assert daemon.stop() == 0
    assert names(scene.loras) == ["cat_000000500.json", "cat_000000500.safetensors"]


@dataclass
class Bench:
    """One destination, one journal, one clock, and a LoRA of step 500 that has been delivered."""

    job: Path
    loras: Path
    journal: Database
    destination: DirectoryDestination
    told: list[tuple[Event, dict[str, object]]]
    now: float = 0.0
    wanted: frozenset[str] = frozenset({"preview", "metadata"})
    route: Route = field(init=False)

    def __post_init__(self) -> None:
        with self.journal.write() as connection:
            number = places.register_destination(connection, name="there", location="x", kind="directory", now=1)
        self.route = Route(number, self.destination, None, sidecars=self.wanted, sidecar_writer=self.destination)

    def deliver(self, name: str = "cat_000000500.safetensors", *, step: int | None = 500, version: int = 0) -> None:
        content = lora_bytes(seed=version)
        save_in_place(self.job / name, content)
        save_in_place(self.loras / name, content)
        status = (self.job / name).stat()
        self.now = max(self.now, status.st_mtime)
        candidate = Candidate(str(self.job.parent), str(self.job / name), version_of(status), status.st_ctime_ns)
        accepted = Accepted(candidate, f"{version:064}", Facts(kind="lora", step=step))
        with self.journal.write() as connection:
            planned = record_accepted(connection, accepted, [self.route], IntakeSettings(), now=self.now).planned
            (delivery,) = deliveries.get(connection, [planned[0].delivery_id])
            receipt = Receipt(
                delivery.delivery_id, name, Evidence.SHA256, "f", 1, is_replacement=version > 0, seconds=0.1
            )
            record_arrival(connection, self.route, delivery, receipt, now=self.now)

    def tend(self, *, after: float = 0.0) -> None:
        self.now += after
        Sidecars(self.route, self.journal, lambda: self.now).tend()

    @property
    def preview(self) -> bytes | None:
        path = self.loras / "cat_000000500.preview.jpg"
        return path.read_bytes() if path.exists() else None


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    told: list[tuple[Event, dict[str, object]]] = []
    monkeypatch.setattr(sidecars, "emit", lambda event, **data: told.append((event, data)))
    loras = tmp_path / "loras"
    loras.mkdir()
    journal = Database.open(str(tmp_path / "state"))
    destination = DirectoryDestination(
        name="there", directory=str(loras), file_mode=0o664, min_free_bytes=0, instance="0123456789ab"
    )
    yield Bench(tmp_path / "outputs" / "cat", loras, journal, destination, told)
    journal.close()


def test_the_picture_of_its_own_step_takes_the_place_of_an_older_one_when_it_comes(bench: Bench) -> None:
    older = draw(bench.job, "1__000000250_0.jpg")
    bench.deliver()
    bench.tend()
    assert bench.preview == older
    own = draw(bench.job, "2__000000500_0.jpg")
    bench.tend(after=LOOK_AGAIN_SECONDS - 1)
    assert bench.preview == older
    bench.tend(after=1)
    assert bench.preview == own
    draw(bench.job, "3__000000500_1.jpg", b"later", age_seconds=50)
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert bench.preview == own  # it was right already: nobody looks any more


def test_a_picture_that_a_later_step_drew_is_not_its_own(bench: Bench) -> None:
    draw(bench.job, "1__000000750_0.jpg")
    bench.deliver()
    bench.tend()
    assert bench.preview is None


def test_a_lora_without_a_step_gets_the_newest_picture(bench: Bench) -> None:
    draw(bench.job, "1__000000750_0.jpg", age_seconds=200)
    newest = draw(bench.job, "2__000000500_0.jpg", age_seconds=100)
    bench.deliver(step=None)
    bench.tend()
    assert bench.preview == newest


def test_a_picture_that_may_still_be_written_waits(bench: Bench) -> None:
    picture = draw(bench.job, "1__000000500_0.jpg", age_seconds=0)
    bench.deliver()
    bench.now = (bench.job / "samples" / "1__000000500_0.jpg").stat().st_mtime + 1
    bench.tend()
    assert bench.preview is None
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert bench.preview == picture


def test_nobody_waits_for_a_picture_for_ever(bench: Bench) -> None:
    bench.deliver()
    bench.tend()
    bench.tend(after=PATIENCE_SECONDS + 1)
    draw(bench.job, "1__000000500_0.jpg")
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert bench.preview is None


@pytest.mark.parametrize("link", ["samples", "samples/1__000000500_0.jpg"])
def test_no_link_is_followed_to_a_picture(bench: Bench, link: str) -> None:
    secret = bench.job.parent.parent / "elsewhere"
    draw(secret, "1__000000500_0.jpg", b"secret")
    (bench.job / link).parent.mkdir(parents=True)
    (bench.job / link).symlink_to(secret / link)
    bench.deliver()
    bench.tend()
    assert bench.preview is None


def test_what_a_person_removed_stays_removed(bench: Bench) -> None:
    draw(bench.job, "1__000000250_0.jpg")
    bench.deliver()
    bench.tend()
    (bench.loras / "cat_000000500.preview.jpg").unlink()
    draw(bench.job, "2__000000500_0.jpg")
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert bench.preview is None


def test_nothing_is_put_beside_a_lora_that_a_person_removed(bench: Bench) -> None:
    bench.deliver()
    (bench.loras / "cat_000000500.safetensors").unlink()
    bench.tend()
    assert names(bench.loras) == []


def test_a_name_that_lora_manager_would_take_for_another_models_metadata_is_not_used(bench: Bench) -> None:
    bench.deliver("cat.metadata.safetensors")
    bench.tend()
    assert names(bench.loras) == ["cat.metadata.safetensors"]


class Killed(BaseException):
    """The process ends here."""


def dies_before(_write: Callable[..., RemoteFile], *_arguments: object, **_more: object) -> RemoteFile:
    raise Killed


def dies_after(write: Callable[..., RemoteFile], *arguments: object, **more: object) -> RemoteFile:
    write(*arguments, **more)
    raise Killed


@pytest.mark.parametrize("dies", [dies_before, dies_after])
@pytest.mark.parametrize("version", [0, 1], ids=["new", "replaced"])
def test_killed_around_the_rename_it_still_knows_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, dies: Callable[..., RemoteFile], version: int
) -> None:
    for number in range(version + 1):
        draw(bench.job, "1__000000500_0.jpg", f"picture {number}".encode())
        bench.deliver(version=number)
        if number < version:
            bench.tend()
    write = bench.destination.write_beside
    monkeypatch.setattr(bench.destination, "write_beside", lambda *args, **more: dies(write, *args, **more))
    for _ in range(2):
        with pytest.raises(Killed):
            bench.tend(after=LOOK_AGAIN_SECONDS)
    monkeypatch.undo()
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert bench.preview == f"picture {version}".encode()
    assert f"{version:064}" in (bench.loras / "cat_000000500.json").read_text()
    draw(bench.job, "1__000000500_0.jpg", b"picture of the next")
    bench.deliver(version=version + 1)
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert bench.preview == b"picture of the next"  # it was known as ours


def test_a_failing_sidecar_is_told_of_and_the_other_one_is_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(bench.job, "1__000000500_0.jpg")
    write = bench.destination.write_beside

    def fails(name: str, content: bytes, *, replaces: RemoteFile | None) -> RemoteFile:
        if name.endswith(".json"):
            raise DestinationError("no", code="name-refused")
        return write(name, content, replaces=replaces)

    monkeypatch.setattr(bench.destination, "write_beside", fails)
    bench.deliver()
    bench.tend()
    assert [(event, data.get("code")) for event, data in bench.told] == [
        (Event.SIDECAR_FAILED, "name-refused"),
        (Event.SIDECAR_WRITTEN, None),
    ]
    assert bench.preview is not None


def test_a_destination_that_is_down_is_tried_again(bench: Bench) -> None:
    bench.deliver()
    aside = bench.loras.rename(bench.loras.with_name("aside"))
    bench.tend()
    aside.rename(bench.loras)
    assert names(bench.loras) == ["cat_000000500.safetensors"]
    bench.tend(after=LOOK_AGAIN_SECONDS)
    assert names(bench.loras) == ["cat_000000500.json", "cat_000000500.safetensors"]


def test_a_full_disk_leaves_nothing_behind(bench: Bench) -> None:
    full = DirectoryDestination(
        name="there", directory=str(bench.loras), file_mode=0o664, min_free_bytes=1 << 60, instance="0123456789ab"
    )
    with pytest.raises(DestinationDownError):
        full.write_beside("cat.json", b"{}", replaces=None)
    assert names(bench.loras) == []
