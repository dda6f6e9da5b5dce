"""The house's one direction, enforced: who may import whom, how long anything may be, and no cycles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lorawatch"
MOST_MODULE_LINES = 300
MOST_FUNCTION_LINES = 60

# What each room may import of the house. Rooms that are not named here may import anything below the commands.
ROOMS: dict[str, frozenset[str]] = {
    "domain": frozenset({"domain"}),
    "transport": frozenset({"domain", "transport"}),
    "inspection": frozenset({"domain", "inspection", "transport"}),
    "journal": frozenset({"domain", "journal"}),
    "sources": frozenset({"domain", "inspection", "sources", "transport"}),
    "destinations": frozenset({"config", "domain", "destinations", "inspection", "transport"}),
    "service_unit": frozenset({"config", "domain", "finding", "first", "packaged", "service", "transport"}),
    "workflows": frozenset({"workflows"}),
    "comfyui": frozenset({"comfyui", "domain", "inspection", "transport"}),
    "engine": frozenset({"domain", "engine", "events", "humanize", "inspection", "journal", "transport"}),
}
# The adapters do not know each other; only the registry knows its own kind by name.
HANDS = {
    "requests": {"transport"},
    "tenacity": {"transport"},
    "subprocess": {"transport"},
    "typer": {"cli"},
    "sqlite3": {"journal"},
    "watchdog": {"sources"},
    "safetensors": {"inspection", "demonstration"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def name_of(path: Path) -> str:
    parts = ["lorawatch", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, at_top_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    allowed = ROOMS.get(room_of(path))
    for name in imports_of(path):
        top, _, rest = name.partition(".")
        if top == "lorawatch" and rest and allowed is not None:
            target = rest.partition(".")[0]
            if (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").is_file():
                # siblings such as event_names belong to the room whose word they begin with
                room = "events" if target.startswith("event_") else target.partition("_")[0]
                assert room in allowed, f"{name_of(path)} imports {name}"
        if top in HANDS:
            assert room_of(path) in HANDS[top], f"{name_of(path)} imports {name}: that is for {HANDS[top]}"


def test_the_domain_imports_nothing_but_the_standard_library() -> None:
    import sys

    for path in sorted((PACKAGE / "domain").rglob("*.py")):
        for name in imports_of(path):
            top = name.partition(".")[0]
            assert top == "lorawatch" or top in sys.stdlib_module_names, f"{name_of(path)} imports {name}"
            assert top not in {"logging", "threading", "time", "random", "socket", "subprocess"}, name_of(path)


def test_there_are_no_import_cycles() -> None:
    names = {name_of(path): path for path in modules()}
    graph = {
        name: {target for target in imports_of(path, at_top_only=True) if target in names and target != name}
        for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail, name])
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{node.name}: {length} lines"


def test_only_the_command_line_ends_the_process() -> None:
    for path in modules():
        if room_of(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("sys", "exit"), name_of(path)


def test_every_module_says_its_purpose() -> None:
    for path in modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name_of(path)
