"""Every code has a cause and a cure, and no code is used that the table does not know."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lorawatch
from lorawatch.domain.codes import CODES, SECTIONS, Code, lookup

PACKAGE = Path(lorawatch.__file__).parent
KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# Where a code stands as a positional argument.
POSITIONS = {"Finding": 0, "Torn": 0, "Rejection": 1, "Outcome": 1, "WatchState": 1, "_Meaning": 1}

# What ComfyUI shows to a person who uses a LoRA, and lorawatch never meets: `explain` and the README know the cure.
SEEN_IN_COMFYUI = {"no-lora-effect", "none-type-not-iterable", "old-weights", "value-not-in-list"}


def test_no_code_is_listed_twice() -> None:
    names = [code.code for code in CODES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("code", CODES, ids=lambda code: str(code.code))
def test_a_code_is_kebab_case_and_says_its_cause_and_its_cure_in_sentences(code: Code) -> None:
    assert KEBAB_CASE.fullmatch(code.code)
    for text in (code.cause, code.cure):
        assert text == text.strip()
        assert text.endswith(".")
        assert text[0].isupper() or text[0] in '`"' or text.startswith("lorawatch ")
        assert text.count("`") % 2 == 0
        assert "  " not in text
        assert len(text) < 260


def test_lookup_finds_each_code_and_nothing_else() -> None:
    assert all(lookup(code.code) is code for code in CODES)
    assert lookup("no-such-code") is None


def test_every_section_has_codes_and_every_code_a_section() -> None:
    assert all(SECTIONS.values())
    assert sum(map(len, SECTIONS.values())) == len(CODES)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Value not in list", "value-not-in-list"),
        ("Request Entity Too Large", "too-large"),
        ("changes nothing", "no-lora-effect"),
        ("another base model", "no-lora-effect"),
        ("All weights", "zero-effect"),
        ("NoneType not iterable", "none-type-not-iterable"),
        ("Wrong parameters", "wrong-parameters"),
        ("Size mismatch", "size-mismatch"),
        ("Time-out", "timeout"),
        ("may not write", "destination-permission-denied"),
        ("permission denied", "file-unreadable"),
    ],
)
def test_a_person_finds_the_words_of_the_troubleshooting_list(words: str, name: str) -> None:
    code = lookup(name)
    assert code is not None
    assert words in code.cause


def test_the_table_knows_every_code_that_the_package_uses() -> None:
    missing = {
        f"{path.relative_to(PACKAGE.parent)}:{line} {code}"
        for path in PACKAGE.rglob("*.py")
        for line, code in codes_used(ast.parse(path.read_text(encoding="utf-8")))
        if lookup(code) is None
    }
    assert not missing, "add to lorawatch/domain/codes: " + ", ".join(sorted(missing))


def test_every_code_of_the_table_is_used_by_the_package_or_explained_to_whoever_reads_comfyui() -> None:
    used = {
        node.value
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "codes"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {code.code for code in CODES} - used <= SEEN_IN_COMFYUI
    assert all(lookup(code) for code in SEEN_IN_COMFYUI)


def test_a_code_that_is_only_in_a_pair_with_its_reason_is_found_too() -> None:
    found = codes_used(ast.parse('return "kind-not-wanted", f"it is of kind {kind}"'))
    assert [code for _, code in found] == ["kind-not-wanted"]


def test_codes_are_found_however_they_are_written() -> None:
    source = """
raise Error("m", code="a")
code = "b"
code, reason = "c", "words"
class Error(Exception):
    code: str = "d"
Finding("e", "words")
model.Outcome(state, "f", "words")
CODE = "g" if x else "h"
emit(code="Not A Code")
"""
    assert [code for _, code in codes_used(ast.parse(source))] == list("abcdefgh")


def codes_used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the codes in a module, each with its line."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        for each in code_expressions(node):
            found += [(each.lineno, text) for text in literals(each) if KEBAB_CASE.fullmatch(text)]
    yield from sorted(set(found))


def literals(expression: ast.expr) -> Iterator[str]:
    match expression:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from literals(one)
            yield from literals(other)
        case ast.BoolOp(values=values):
            for value in values:
                yield from literals(value)


def code_expressions(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments, keywords=keywords):
            yield from (keyword.value for keyword in keywords if keyword.arg == "code")
            if len(arguments) > POSITIONS.get(name, len(arguments)):
                yield arguments[POSITIONS[name]]
        case ast.Return(value=ast.Tuple(elts=[ast.Constant(value=str(code)) as first, reason])) if "-" in code:
            if isinstance(reason, ast.JoinedStr) or (isinstance(reason, ast.Constant) and " " in str(reason.value)):
                yield first
        case ast.Assign(targets=[ast.Name(id="code" | "CODE")], value=value):
            yield value
        case ast.AnnAssign(target=ast.Name(id="code" | "CODE"), value=ast.expr() as value):
            yield value
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            for target, each in zip(names, values, strict=False):
                if isinstance(target, ast.Name) and target.id == "code":
                    yield each
