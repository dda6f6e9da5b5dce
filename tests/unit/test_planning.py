"""Which name an artifact gets, which steps are wanted, and what is done about what stands at a name."""

import os
from collections.abc import Callable

import pytest

from lorawatch.domain.errors import DeliveryRefusedError
from lorawatch.domain.model import Artifact, Facts, Placement, RemoteFile, Version
from lorawatch.domain.planning import (
    CheckpointPolicy,
    NameChoice,
    Resolution,
    base_name_of,
    choose_name,
    job_of,
    numbered_name,
    refuse_unsafe_name,
    resolve,
    series_of,
    step_of,
    surplus_steps,
)

ROOT = "/out"
SHA = "0123456789abcdef" * 4
OTHER_SHA = "f" * 64
PATH = "/out/cat/cat_000000250.safetensors"
FACTS = Facts(kind="lora", family="flux.1", rank=16, trigger_words=("p3rson", "cat"))


def artifact(path: str = PATH, sha256: str = SHA) -> Artifact:
    return Artifact(1, ROOT, path, Version(1, 100, 1), sha256, FACTS)


def render(template: str, *, path: str = PATH, facts: Facts = FACTS) -> str:
    return base_name_of(template, path=path, root=ROOT, sha256=SHA, facts=facts)


@pytest.mark.parametrize(
    ("name", "step", "series"),
    [
        ("cat_000000250", 250, "cat"),
        ("cat", None, "cat"),
        ("cat_v2", None, "cat_v2"),
        ("cat_2_000000010", 10, "cat_2"),
        ("_5", 5, ""),
        ("cat_", None, "cat_"),
        ("cat_12.5", None, "cat_12.5"),
        ("wan_000000250_high_noise", 250, "wan_high_noise"),
        ("wan_high_noise", None, "wan_high_noise"),
        ("line\nbreak_7", 7, "line\nbreak"),
        (f"cat_{'9' * 18}", 999_999_999_999_999_999, "cat"),
        (f"cat_{'9' * 19}", None, f"cat_{'9' * 19}"),  # no number that the journal could hold
        ("cat_٣", None, "cat_٣"),  # a digit, but not one that a trainer writes
        (os.fsdecode(b"caf\xe9_12"), 12, os.fsdecode(b"caf\xe9")),
    ],
)
def test_the_step_is_the_number_at_the_end_of_the_stem(name: str, step: int | None, series: str) -> None:
    path = f"/out/job/{name}.safetensors"
    assert (step_of(path), series_of(path)) == (step, f"/out/job/{series}")


@pytest.mark.parametrize(
    ("path", "job"),
    [
        ("/out/cat/cat_000000250.safetensors", "cat"),
        ("/out/dog_250.safetensors", "dog"),
        ("/out/a/b/x.safetensors", "b"),
    ],
)
def test_the_job_is_the_folder_or_the_stem_of_a_file_in_the_root(path: str, job: str) -> None:
    assert job_of(path, ROOT) == job


@pytest.mark.parametrize("text", ["", "latest", "latest:0", "latest:-1", "latest:x", "some", "final:2"])
def test_an_unknown_checkpoint_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="none of all, final, latest:N"):
        CheckpointPolicy.parse(text)


def test_latest_leaves_the_highest_steps() -> None:
    policy = CheckpointPolicy.parse("latest:2")
    assert surplus_steps([250, 1000, 500, 750, 500], policy) == {250, 500}
    assert surplus_steps([250], policy) == frozenset()
    assert surplus_steps([250, 500, 750], CheckpointPolicy.parse("all")) == frozenset()


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{file_name}", "cat_000000250.safetensors"),
        ("{family}/{job}/{stem}", "flux.1/cat/cat_000000250.safetensors"),
        ("{trigger}-{rank}-{step}-{sha8}", "p3rson-16-250-01234567.safetensors"),
        ("fixed.safetensors", "fixed.safetensors"),
        ("{stem}.pt", "cat_000000250.pt"),
        ("{unknown}-{stem}", "{unknown}-cat_000000250.safetensors"),
    ],
)
def test_a_template_is_filled_in(template: str, name: str) -> None:
    assert render(template) == name


def test_what_is_not_known_has_a_word_of_its_own() -> None:
    name = render("{family}/{trigger}/{rank}/{step}", path="/out/cat.safetensors", facts=Facts())
    assert name == "unsorted/none/none/final.safetensors"


def test_values_from_a_file_cannot_leave_their_place_in_a_path() -> None:
    facts = Facts(family="../../etc", trigger_words=("a/b\\c:d\0e ",))
    assert render("{family}/{trigger}", facts=facts) == "_.._etc/a_b_c_d_e.safetensors"


def test_a_value_of_dots_alone_counts_as_none() -> None:
    assert render("{family}/{rank}", facts=Facts(family="..", rank=4)) == "unsorted/4.safetensors"


@pytest.mark.parametrize(
    ("template", "path", "trigger", "name"),
    [
        ("{stem}", "/out/foo.pt.safetensors", "x", "foo.pt.safetensors"),
        ("{stem}t", "/out/foo.p.safetensors", "x", "foo.pt.safetensors"),
        ("{trigger}", "/out/foo.safetensors", "../../evil/x.bin", "_.._evil_x.bin.safetensors"),
        ("{trigger}.sft", "/out/foo.safetensors", "x.bin", "x.bin.sft"),
        ("{job}/{file_name}", "/out/a/foo.pt.safetensors", "x", "a/foo.pt.safetensors"),
        ("{file_name}", "/out/foo", "x", "foo.safetensors"),
    ],
)
def test_no_value_from_a_file_decides_the_extension(template: str, path: str, trigger: str, name: str) -> None:
    assert render(template, path=path, facts=Facts(trigger_words=(trigger,))) == name


@pytest.mark.parametrize("letter", ["x", "ä", "漢", os.fsdecode(b"\xff")])
def test_every_part_of_a_name_fits_into_a_directory(letter: str) -> None:
    path = f"/out/{letter * (240 // len(os.fsencode(letter)))}.safetensors"
    rendered = render(
        "{trigger}{trigger}{trigger}/{stem}-{stem}", path=path, facts=Facts(trigger_words=(letter * 500,))
    )
    numbered = numbered_name(os.path.basename(path), path=path, sha256=SHA, owner_of=owners())
    for part in [*rendered.split("/"), numbered]:
        assert 255 - 4 < len(os.fsencode(part)) <= 255
        assert set(part) <= {*letter, *f"-{SHA[:8]}.safetensors"}  # no character was cut in two
    assert rendered.endswith(".safetensors")
    assert numbered.endswith(f"-{SHA[:8]}.safetensors")
    assert render("{file_name}", path=path) == os.path.basename(path)


def test_a_value_is_limited_in_bytes_and_holds_nothing_that_no_name_can() -> None:
    name = render("{trigger}", facts=Facts(trigger_words=("\ud800" + "漢" * 100,)))
    assert name == f"_{'漢' * 39}.safetensors"


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/../b", "./a", "a/", "a\0b", ".a", "..a", "a/.b"])
def test_an_unsafe_name_is_refused_with_words(name: str) -> None:
    with pytest.raises(DeliveryRefusedError) as caught:
        refuse_unsafe_name(name)
    assert caught.value.code == "name-refused"
    assert caught.value.fix


@pytest.mark.parametrize("name", ["a", "a/b", "a..", ".a/b", "a b", os.fsdecode(b"\xff"), "-rf", "a\nb"])
def test_a_strange_name_is_not_refused(name: str) -> None:
    refuse_unsafe_name(name)


def owners(*placements: Placement) -> Callable[[str], Placement | None]:
    by_name = {each.remote_name: each for each in placements}
    return by_name.get


def choose(base_name: str, *, kept: str | None = None, owned: tuple[Placement, ...] = ()) -> NameChoice:
    return choose_name(base_name, path=PATH, sha256=SHA, kept=kept, owner_of=owners(*owned))


def test_a_free_name_is_taken_and_a_kept_one_is_kept() -> None:
    assert choose("a.safetensors") == NameChoice("a.safetensors")
    assert choose("a.safetensors", kept="a-1.safetensors") == NameChoice("a-1.safetensors")


def test_a_name_of_another_path_is_left_to_it_unless_the_bytes_are_the_same() -> None:
    other = Placement("/out/other", "a.safetensors", OTHER_SHA, "f")
    assert choose("a.safetensors", owned=(other,)) == NameChoice("a-01234567.safetensors", "/out/other")
    claimed = Placement("/out/other", "a.safetensors", None, None)
    assert choose("a.safetensors", owned=(claimed,)) == NameChoice("a-01234567.safetensors", "/out/other")
    same = Placement("/out/other", "a.safetensors", SHA, "f")
    assert choose("a.safetensors", owned=(same,)) == NameChoice("a.safetensors")


def test_a_numbered_name_gets_more_digits_until_it_is_free_and_is_refused_after_that() -> None:
    taken = [Placement("/x", f"a-{SHA[:digits]}.safetensors", OTHER_SHA, "f") for digits in (8, 12, 16, 32, 64)]

    def name(owned: list[Placement], skip: int = 0) -> str:
        return numbered_name("a.safetensors", path=PATH, sha256=SHA, owner_of=owners(*owned), skip=skip)

    assert name([]) == f"a-{SHA[:8]}.safetensors"
    assert name([], skip=1) == f"a-{SHA[:12]}.safetensors"
    assert name(taken[:2]) == f"a-{SHA[:16]}.safetensors"
    with pytest.raises(DeliveryRefusedError):
        name(taken)


THERE = RemoteFile("a.safetensors", 100, "print")
LINK = RemoteFile("a.safetensors", 100, "print", is_link=True)
OURS = Placement(PATH, "a.safetensors", OTHER_SHA, "print")


def decide(
    there: RemoteFile | None,
    placement: Placement | None = None,
    *,
    digest: str | None = OTHER_SHA,
    sent: tuple[str, ...] = (),
    on_conflict: str = "keep-both",
) -> Resolution:
    return resolve(
        there,
        artifact=artifact(),
        placement=placement,
        was_sent=lambda sha256: sha256 in sent,
        digest=lambda: digest,
        on_conflict=on_conflict,
    )


def test_where_nothing_stands_the_file_is_created() -> None:
    assert decide(None) is Resolution.CREATE
    assert decide(None, OURS) is Resolution.CREATE


def test_the_same_bytes_are_left_in_place_whoever_put_them_there() -> None:
    assert decide(THERE, digest=SHA) is Resolution.ALREADY_THERE
    assert decide(THERE, digest=SHA, on_conflict="overwrite") is Resolution.ALREADY_THERE
    told = RemoteFile("a.safetensors", 100, "print", sha256=SHA)
    assert decide(told, digest=None) is Resolution.ALREADY_THERE


def test_what_this_path_put_there_is_replaced() -> None:
    assert decide(THERE, OURS, digest=None) is Resolution.REPLACE  # untouched: nobody need read it
    touched = Placement(PATH, "a.safetensors", OTHER_SHA, "old print")
    assert decide(THERE, touched, sent=(OTHER_SHA,)) is Resolution.REPLACE  # its bytes are ones we sent
    claimed = Placement(PATH, "a.safetensors", None, None)
    assert decide(THERE, claimed, sent=(OTHER_SHA,)) is Resolution.REPLACE  # we were killed before we noted it


@pytest.mark.parametrize(
    ("on_conflict", "expected"),
    [("keep-both", Resolution.KEEP_BOTH), ("overwrite", Resolution.REPLACE), ("skip", Resolution.SKIP)],
)
def test_what_is_not_ours_is_treated_as_configured(on_conflict: str, expected: Resolution) -> None:
    claimed = Placement(PATH, "a.safetensors", None, None)
    changed = Placement(PATH, "a.safetensors", OTHER_SHA, "old print")
    for placement in (None, claimed, changed):
        assert decide(THERE, placement, on_conflict=on_conflict) is expected
        assert decide(THERE, placement, digest=None, on_conflict=on_conflict) is expected
        assert decide(LINK, placement, digest=SHA, on_conflict=on_conflict) is expected


@pytest.mark.parametrize("on_conflict", ["keep-both", "overwrite", "skip"])
def test_what_lorawatch_put_there_for_another_path_is_never_replaced_or_skipped(on_conflict: str) -> None:
    theirs = Placement("/out/other", "a.safetensors", OTHER_SHA, "print")
    assert decide(THERE, theirs, on_conflict=on_conflict) is Resolution.KEEP_BOTH
