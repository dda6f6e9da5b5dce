"""What is found on a machine: fresh trees of files that stand for one, with a /proc of their own."""

from pathlib import Path

import pytest

from lorawatch.finding import containers, directories
from lorawatch.finding.comfyui import options
from lorawatch.finding.extra_paths import lora_directories
from lorawatch.finding.processes import MountPoint, running, translated
from lorawatch.finding.survey import survey
from lorawatch.finding.usual import Machine, Place

COMFYUI = "srv/x/comfy"


def process(
    root: Path, number: int, directory: Path, *words: str, files: tuple[Path, ...] = (), view: str = "mnt:[1]"
) -> Path:
    """Make what /proc shows of a process."""
    place = root / f"proc/{number}"
    (place / "fd").mkdir(parents=True)
    (place / "ns").mkdir()
    (place / "cwd").symlink_to(directory)
    (place / "ns/mnt").symlink_to(view)
    (place / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    for number_of_file, file in enumerate(files):
        (place / f"fd/{number_of_file}").symlink_to(file)
    return place


def comfyui_in(root: Path, name: str = COMFYUI) -> Path:
    place = root / name
    (place / "models/loras").mkdir(parents=True)
    (place / "main.py").touch()
    return place


def paths(places: list[Place]) -> list[str]:
    return [place.path for place in places]


def test_usual_places_and_running_programs_are_found_once_and_what_runs_comes_first(tmp_path: Path) -> None:
    toolkit, usual = tmp_path / "home/ann/ai-toolkit", tmp_path / "opt/ComfyUI"
    (toolkit / "output").mkdir(parents=True)
    (toolkit / "run.py").touch()
    (usual / "models/loras").mkdir(parents=True)
    elsewhere = comfyui_in(tmp_path)
    process(tmp_path, 1, toolkit)
    process(tmp_path, 2, elsewhere)
    machine = Machine(str(tmp_path))
    assert paths(directories.outputs(machine)) == [str(toolkit / "output")]
    assert paths(directories.loras(machine)) == [str(elsewhere / "models/loras"), str(usual / "models/loras")]


def test_the_own_home_and_the_current_directory_come_before_the_homes_of_others(tmp_path: Path) -> None:
    for home in ("home/ann", "mine"):
        (tmp_path / home / "ai-toolkit/outputs").mkdir(parents=True)
    machine = Machine(str(tmp_path), homes=(str(tmp_path / "mine"),))
    assert paths(directories.outputs(machine)) == [
        str(tmp_path / home / "ai-toolkit/outputs") for home in ("mine", "home/ann")
    ]


def test_a_file_that_a_training_job_has_open_leads_to_the_outputs(tmp_path: Path) -> None:
    job = tmp_path / "disk/trained/cat_v1"
    job.mkdir(parents=True)
    (job / "config.yaml").touch()
    process(tmp_path, 7, tmp_path, "python3", "train.py", files=(job / "log.txt", tmp_path / "other/file"))
    (found,) = directories.outputs(Machine(str(tmp_path)))
    assert found.path == str(tmp_path / "disk/trained")
    assert "cat_v1" in found.why


def test_the_default_of_extra_model_paths_goes_before_comfyui_s_own_directory(tmp_path: Path) -> None:
    place = comfyui_in(tmp_path)
    for name in ("shared/a", "shared/b", "big/Lora"):
        (tmp_path / name).mkdir(parents=True)
    (place / "extra_model_paths.yaml").write_text(
        f"other:\n  base_path: {tmp_path}/shared\n  loras: |\n    a\n    b\n  vae: vae\n"
        f"big:\n  is_default: true\n  base_path: {tmp_path}/big/\n  loras: Lora\nempty:\n"
    )
    process(tmp_path, 3, place, "python", "main.py")
    found = directories.loras(Machine(str(tmp_path)))
    assert paths(found) == [
        str(tmp_path / "big/Lora"),
        str(place / "models/loras"),
        str(tmp_path / "shared/a"),
        str(tmp_path / "shared/b"),
    ]
    assert "extra_model_paths.yaml, as default" in found[0].why


def test_the_options_of_a_running_comfyui_say_where_its_models_are(tmp_path: Path) -> None:
    place = comfyui_in(tmp_path)
    base = tmp_path / "data/comfy"
    (base / "models/loras").mkdir(parents=True)
    (tmp_path / "named").mkdir()
    (place / "my.yaml").write_text("x:\n  base_path: ../../../named\n  is_default: yes\n  loras: .\n")
    process(
        tmp_path, 3, place, "python", "main.py", f"--base-directory={base}", "--extra-model-paths-config", "my.yaml"
    )
    assert paths(directories.loras(Machine(str(tmp_path)))) == [str(tmp_path / "named"), str(base / "models/loras")]


def test_an_option_may_be_given_several_times_and_with_several_values() -> None:
    words = ("main.py", "--x", "a", "b", "--port", "1", "--x=c", "d")
    assert options(words, "--x") == ["a", "b", "c"]
    assert options(words, "--port") == ["1"]
    assert options(words, "--none") == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a:\n  loras: x\n", ["{here}/x"]),
        ("a:\n  base_path: ..\n  loras: x/../y\n", ["{above}/y"]),
        ("a:\n  base_path: $LORA_BASE\n  loras: x\n", ["/base/x"]),
        ("a:\n  loras: |\n\n    /one\n\n    /two\n", ["/one", "/two"]),
        ("a:\n  loras: /later\nb:\n  is_default: true\n  loras: /first\n", ["/first", "/later"]),
        ("a: [1, 2]\nb:\n  loras: [not, text]\nc:\n", []),
        ("- a list\n", []),
        ("{ broken", []),
        ("!!python/object/apply:os.system ['true']", []),
        ("", []),
    ],
)
def test_extra_model_paths_are_read_as_comfyui_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, wanted: list[str]
) -> None:
    monkeypatch.setenv("LORA_BASE", "/base")
    file = tmp_path / "here/extra_model_paths.yaml"
    file.parent.mkdir()
    file.write_text(text)
    expected = [each.format(here=file.parent, above=tmp_path) for each in wanted]
    assert [each.path for each in lora_directories(str(file))] == expected


def test_a_file_that_is_not_there_or_no_text_names_nothing(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert lora_directories(str(tmp_path / "none.yaml")) == []
    assert lora_directories(str(binary)) == []


OURS = (
    MountPoint("8:1", "/", "/", "ext4"),
    MountPoint("8:2", "/", "/data disk", "xfs"),
    MountPoint("0:50", "/", "/var/lib/docker/overlay2/abc/merged", "overlay"),
)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/ai-toolkit/outputs", "/data disk/out"),
        ("/ai-toolkit/outputs/job", "/data disk/out/job"),
        ("/models", "/srv/models"),
        ("/app/ComfyUI", None),  # in the container's own layers
        ("/gone", None),  # on a device that is mounted nowhere here
    ],
)
def test_a_path_in_a_container_is_found_here_by_what_is_mounted(path: str, wanted: str | None) -> None:
    theirs = (
        MountPoint("0:50", "/", "/", "overlay"),
        MountPoint("8:2", "/out", "/ai-toolkit/outputs", "xfs"),
        MountPoint("8:1", "/srv/models", "/models", "ext4"),
        MountPoint("8:9", "/", "/gone", "ext4"),
    )
    assert translated(path, theirs, OURS) == wanted


def test_what_is_mounted_into_a_container_is_found_without_asking_docker(tmp_path: Path) -> None:
    outputs, models = tmp_path / "disk/out", tmp_path / "disk/comfy models"
    outputs.mkdir(parents=True)
    (models / "loras").mkdir(parents=True)
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/mnt").symlink_to("mnt:[1]")
    (tmp_path / "proc/self/mountinfo").write_text("20 1 8:1 / / rw - ext4 /dev/a rw\n")
    place = process(tmp_path, 9, Path("/app"), "node", "server.js", view="mnt:[2]")
    escaped = str(models).replace(" ", "\\040")
    (place / "mountinfo").write_text(
        "30 1 0:60 / / rw - overlay overlay rw\n"
        f"31 30 8:1 {outputs} /app/ai-toolkit/output rw - ext4 /dev/a rw\n"
        f"32 30 8:1 {escaped} /root/ComfyUI/models rw - ext4 /dev/a rw\n"
    )
    found = survey(Machine(str(tmp_path)))
    assert paths([*found.outputs]) == [str(outputs)]
    assert paths([*found.loras]) == [str(models / "loras")]
    assert "/app/ai-toolkit/output into the container of process 9" in found.outputs[0].why
    (contained,) = (each for each in running(str(tmp_path)) if each.is_contained)
    assert contained.translate("/app") is None


def test_directories_that_would_swallow_one_another_are_not_offered(tmp_path: Path) -> None:
    (tmp_path / "opt/ai-toolkit/output").mkdir(parents=True)
    inside = tmp_path / "opt/ai-toolkit/output/ComfyUI"
    (inside / "models/loras").mkdir(parents=True)
    (inside / "main.py").touch()
    process(tmp_path, 2, inside, "python", "main.py")
    found = survey(Machine(str(tmp_path)))
    assert paths([*found.outputs]) == [str(tmp_path / "opt/ai-toolkit/output")]
    assert found.loras == ()


def test_a_name_that_toml_cannot_hold_is_not_offered(tmp_path: Path) -> None:
    home = tmp_path / "home" / b"\xff".decode("utf-8", "surrogateescape")
    (home / "ai-toolkit/output").mkdir(parents=True)
    assert directories.outputs(Machine(str(tmp_path))) == []


def test_without_docker_s_socket_no_container_is_asked(tmp_path: Path) -> None:
    assert containers.running(str(tmp_path / "none.sock")) == []
