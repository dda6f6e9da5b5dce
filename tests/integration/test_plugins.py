"""What else is installed beside lorawatch does not change what it does."""

from pathlib import Path

from tests.process import PROJECT, Lorawatch


def test_a_plugin_of_pydantic_is_not_loaded(tmp_path: Path) -> None:
    installed, trace = tmp_path / "installed", tmp_path / "loaded"
    information = installed / "meddler-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: meddler\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[pydantic]\nmeddler = meddler:plugin\n")
    (installed / "meddler.py").write_text(f"open({str(trace)!r}, 'w').close()\nplugin = None\n")
    watched, loras = tmp_path / "watched", tmp_path / "loras"
    watched.mkdir()
    loras.mkdir()
    for wish, is_loaded in (({"PYDANTIC_DISABLE_PLUGINS": ""}, True), ({}, False)):  # whoever has set it keeps it
        trace.unlink(missing_ok=True)
        scene = Lorawatch(tmp_path, environ={"PYTHONPATH": f"{installed}:{PROJECT}", **wish})
        finished = scene.command("once", "--watch", str(watched), "--to", str(loras))
        assert trace.exists() is is_loaded
        assert finished.exit_code == (1 if is_loaded else 0), finished.stderr  # it is no good plugin
