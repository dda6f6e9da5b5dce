"""What one value of the configuration may look like: seconds, sizes, paths, names, patterns, templates.

config.py builds its models from these types. Each check refuses with what would be right instead; config_problems.py
puts what was written in front of it. Nothing here looks at a disk, and nothing looks at two values at once.
"""

import difflib
import os
import re
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from lorawatch.domain.errors import DeliveryRefusedError
from lorawatch.domain.planning import PLACEHOLDERS, CheckpointPolicy, refuse_unsafe_name

REFUSED = "refused"  # the pydantic error type of every check below
# What `Config.model_validate(..., context=)` may carry: where relative paths start, and what `~` stands for.
BASE_DIRECTORY, HOME_DIRECTORY = "base_directory", "home_directory"

_YEAR_SECONDS = 31_536_000  # a wait beyond it is a slip; Python's own waits overflow at 292 years
_MIB = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z0-9-]+")
_FILE_MODE = re.compile(r"0?[0-7]{3}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # Docker's own rule for containers and volumes
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*")
_DOCKER_HOST = re.compile(r"(unix:///|tcp://|ssh://)[\x21-\x7e]+")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_TOKEN = re.compile(r"[\x21-\x7e]*")  # RFC 9110, field values: what every server takes in an Authorization header


def refuse(wrong: str, fix: str = "") -> NoReturn:
    """Refuse a value. `wrong` completes the sentence "is 5, …"; without `fix` an example is shown."""
    raise PydanticCustomError(REFUSED, "{wrong}", {"wrong": wrong, "fix": fix})


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """Return "Did you mean X?" for the known word that is closest, or an empty text."""
    close = difflib.get_close_matches(word.lower().replace("-", "_"), [one.replace("-", "_") for one in known], n=1)
    original = {one.replace("-", "_"): one for one in known}
    return f"Did you mean {original[close[0]]}?" if close else ""


def is_token(text: str) -> bool:
    """Tell whether a text can travel in an HTTP header as it is; empty counts."""
    return _TOKEN.fullmatch(text) is not None


def absolute_path(path: str, *, base: str, home: str) -> str:
    """Return a path from / on, `~` expanded (`home`: what it stands for, if known), links not resolved."""
    if home and path.split("/")[0] == "~":
        path = home + path[1:]
    return os.path.abspath(os.path.join(base, os.path.expanduser(path)))


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        refuse("must be made of a-z, 0-9 and - only", 'Write for example "render-box"')
    return value


def _local_path(value: str, info: ValidationInfo) -> str:
    context = info.context or {}
    if not value or "\0" in value:
        refuse("must be a path")
    if value.startswith("~") and value.split("/")[0] != "~" and os.path.expanduser(value) == value:
        refuse("names a user whose home directory is unknown", "Write the whole path, from / on")
    return absolute_path(value, base=context.get(BASE_DIRECTORY, ""), home=context.get(HOME_DIRECTORY, ""))


def _container_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value or ".." in value.split("/"):
        refuse('must be an absolute path inside the container, without ".."')
    return os.path.normpath(value)


def _url(value: str) -> str:
    # Never shown when it holds "@": what stands in front of it may be a password.
    if "@" in value:
        refuse("must not carry a user name or password", "Leave them out; a token belongs in `token`")
    try:
        parts = urlsplit(value)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_complete = False
    else:
        is_complete = is_complete and not (parts.query or parts.fragment)
    if not is_complete or not value.isprintable() or " " in value:
        refuse("must be http:// or https://, a host, and where needed a port and a path")
    return value.rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    if not is_token(value.get_secret_value()):
        refuse("must be printable ASCII without spaces", "Copy the token again, without quotes or line breaks")
    return value


def _pattern(value: str) -> str:
    import pathspec  # only a configuration that has patterns needs it

    try:
        compiled = pathspec.GitIgnoreSpec.from_lines([value]).patterns
    except (ValueError, re.error):
        compiled = []
    if not any(pattern.include is not None for pattern in compiled):
        refuse("must be a pattern with the rules of .gitignore", 'Write for example "**/*.safetensors"')
    return value


def _file_mode(value: str) -> str:
    if not _FILE_MODE.fullmatch(value):
        refuse("must be three octal digits, as for chmod")
    if not int(value, 8) & 0o400:
        refuse("must let the owner read: every copy is read again before it counts")
    return value


def _checkpoints(value: str) -> str:
    try:
        CheckpointPolicy.parse(value)
    except ValueError:
        refuse("must be all, final, or latest:N with N at least 1", 'Write for example "latest:4"')
    return value


def _name_template(value: str) -> str:
    for placeholder in _BRACES.findall(value):
        if placeholder not in PLACEHOLDERS:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            guess = did_you_mean(placeholder, PLACEHOLDERS)
            refuse(f"has the unknown placeholder {{{placeholder}}}", guess or f"Known are {known}")
    sample = _BRACES.sub("x", value)
    if "{" in sample or "}" in sample:
        refuse("has a { or } that does not belong to a placeholder")
    try:
        refuse_unsafe_name(sample)
    except DeliveryRefusedError:
        refuse('must be a relative name without empty, "." or ".." parts, and must not begin with a dot')
    return value


def _flat_name_template(value: str) -> str:
    if "/" in value or "\\" in value:
        flat = value.replace("\\", "/").replace("/", "-")
        refuse("must not contain / or \\: these servers know no directories", f'Write for example "{flat}"')
    return _name_template(value)


def _chunk_bytes(value: int) -> int:
    # Below 16 KiB the overhead wins; chunks are held in memory, base64 included, so they end at 64 MiB.
    if value != 0 and not 16_384 <= value <= 64 * _MIB:
        refuse(f"must be 0 (find the best by itself) or from 16384 to {64 * _MIB}", "Write for example 262144")
    return value


def _matching(rule: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if value and not rule.fullmatch(value):
            refuse(f"must be {expected}")
        return value

    return AfterValidator(check)


Seconds = Annotated[float, Field(gt=0, le=_YEAR_SECONDS, allow_inf_nan=False)]
SecondsOrNever = Annotated[float, Field(ge=0, le=_YEAR_SECONDS, allow_inf_nan=False)]
SizeBytes = Annotated[int, Field(ge=0, le=1 << 60)]
# 100,000,000 is where the official parser stops: a larger header could never be accepted.
HeaderBytes = Annotated[int, Field(ge=1024, le=100_000_000)]
Threads = Annotated[int, Field(ge=1, le=16)]
ChunkBytes = Annotated[int, AfterValidator(_chunk_bytes)]
Name = Annotated[str, AfterValidator(_name)]
LocalPath = Annotated[str, AfterValidator(_local_path)]
LocalPathOrNone = Annotated[str, AfterValidator(lambda value, info: value and _local_path(value, info))]
ContainerPath = Annotated[str, AfterValidator(_container_path)]
Url = Annotated[str, AfterValidator(_url)]
UrlOrNone = Annotated[str, AfterValidator(lambda value: value and _url(value))]
Token = Annotated[SecretStr, AfterValidator(_token)]
Pattern = Annotated[str, AfterValidator(_pattern)]
FileMode = Annotated[str, AfterValidator(_file_mode)]
Checkpoints = Annotated[str, AfterValidator(_checkpoints)]
NameTemplate = Annotated[str, AfterValidator(_name_template)]
FlatNameTemplate = Annotated[str, AfterValidator(_flat_name_template)]
ContainerName = Annotated[str, _matching(_CONTAINER, "a container's or volume's name: letters, digits, _ . -")]
DockerHost = Annotated[str, _matching(_DOCKER_HOST, "unix:///…, tcp://… or ssh://…, as in $DOCKER_HOST")]
ImageName = Annotated[str, _matching(_IMAGE, "an image's name")]
Owner = Annotated[str, _matching(_OWNER, 'user or user:group, by name or number, such as "1000:1000"')]
