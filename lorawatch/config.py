"""What can be configured: every key with its default, its unit and its meaning.

config_loading.py fills these models from a file, the environment and the command line; everybody else only reads
them, on any thread: they are frozen. Nothing here does I/O. config.example.toml says the same to people.

Field names are the keys of the TOML file. Paths are absolute once loaded; "" and 0 stand for "none" as TOML has no
null. A check that needs two keys of one table stands in that table's model, at the later key, so that it runs even
when other keys are wrong; what needs several tables is in config_rules.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from lorawatch.config_types import (
    Checkpoints,
    ChunkBytes,
    ContainerName,
    ContainerPath,
    DockerHost,
    FileMode,
    FlatNameTemplate,
    HeaderBytes,
    ImageName,
    LocalPath,
    LocalPathOrNone,
    Name,
    NameTemplate,
    Owner,
    Pattern,
    Seconds,
    SecondsOrNever,
    SizeBytes,
    Threads,
    Token,
    Url,
    UrlOrNone,
    refuse,
)

Kind = Literal[
    "lora",
    "embedding",
    "controlnet",
    "t2i-adapter",
    "ip-adapter",
    "vae",
    "text-encoder",
    "model",
    "critic",
    "latent-cache",
    "unknown",
]
Family = Annotated[str, Field(min_length=1)]
Sidecar = Literal["preview", "metadata"]
# TOML gives lists: they become tuples, while what is in them stays strict.
AsTuple = Field(strict=False)


class _Table(BaseModel):
    """What all tables share: unknown keys and silent conversions are refused, values never show in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class WatchConfig(_Table):
    """`[watch]`: where finished files are looked for, and which of them are wanted."""

    directories: Annotated[tuple[LocalPath, ...], AsTuple] = Field((), examples=[["/ai-toolkit/outputs"]])
    mode: Literal["auto", "inotify", "polling"] = "auto"  # auto polls network and FUSE mounts
    poll_seconds: Seconds = 10  # between two looks at a directory that sends no events
    quiet_seconds: Seconds = 2  # standing still this long counts as done when nothing else vouches for it
    reconcile_seconds: Seconds = 300  # between two full scans, which make missed events harmless
    include: Annotated[tuple[Pattern, ...], Field(strict=False, min_length=1)] = ("**/*.safetensors",)
    exclude: Annotated[tuple[Pattern, ...], AsTuple] = Field((), examples=[["**/samples/**"]])
    existing: Literal["deliver", "ignore"] = "deliver"  # files already there at the very first start
    checkpoints: Checkpoints = "all"  # all | final | latest:N; final files are always delivered
    retire: bool = False  # with latest:N: remove older step files that lorawatch put there, unchanged since

    @field_validator("retire")
    @classmethod
    def _retire_needs_latest(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic's signature
        if value and not info.data.get("checkpoints", "latest:").startswith("latest:"):
            refuse(
                f'does nothing with checkpoints = "{info.data["checkpoints"]}"',
                'Write checkpoints = "latest:4", or retire = false',
            )
        return value


class InspectConfig(_Table):
    """`[inspect]`: what a file must be to be delivered."""

    kinds: Annotated[tuple[Kind, ...], Field(strict=False, min_length=1)] = ("lora",)  # the rest is skipped
    max_header_bytes: HeaderBytes = 16_777_216  # a 58 MiB header takes the parser 13 to 21 seconds (measured)
    scan_weights: bool = True  # NaN, Inf, all-zero lora_B/up, zero tail
    on_nonfinite: Literal["reject", "warn"] = "reject"


class RetryConfig(_Table):
    """`[retry]`: how a delivery that could not be made is tried again."""

    first_seconds: Seconds = 1  # the first pause; each further one is longer
    max_seconds: Annotated[Seconds, Field(validate_default=True)] = 300  # no pause is longer
    give_up_after_seconds: SecondsOrNever = 0  # 0: never; what lies in the surroundings passes some day

    @field_validator("max_seconds")
    @classmethod
    def _max_is_not_below_first(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("first_seconds", value)
        if value < first:
            refuse(f"must be at least first_seconds ({first:.12g})", f"Write for example {max(300, first):.12g}")
        return value


class LogConfig(_Table):
    """`[log]`: what is told, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console", "journal"] = "auto"
    file: LocalPathOrNone = Field("", examples=["/var/log/lorawatch/lorawatch.log"])  # "": none


class _DestinationTable(_Table):
    """What every kind of destination has."""

    name: Name = Field(examples=["comfyui"])  # also of its credential and of its LORAWATCH_DESTINATIONS__ variables
    enabled: bool = True
    kinds: Annotated[tuple[Kind, ...], AsTuple] | None = Field(None, examples=[["lora"]])  # None: inspect.kinds
    families: Annotated[tuple[Family, ...], AsTuple] = Field((), examples=[["flux.1", "sdxl_1.0"]])  # (): all
    on_conflict: Literal["keep-both", "overwrite", "skip"] = "keep-both"  # for a file that is not ours
    connections: Threads = 1  # how many deliveries at once
    comfyui_url: UrlOrNone = Field("", examples=["http://127.0.0.1:8188"])  # "": ComfyUI is not asked
    refresh: Literal["idle", "always", "never"] = "idle"  # when ComfyUI forgets the old weights
    refresh_wait_seconds: SecondsOrNever = 600  # with idle: refresh a busy ComfyUI after this; 0: never

    @field_validator("kinds")
    @classmethod
    def _no_kinds_means_inspect_kinds(cls, value: tuple[Kind, ...] | None) -> tuple[Kind, ...] | None:
        return value or None

    @field_validator("refresh")
    @classmethod
    def _refresh_needs_comfyui(cls, value: str, info: ValidationInfo) -> str:
        if value == "always" and info.data.get("comfyui_url") == "":
            refuse(
                "has no ComfyUI to refresh: comfyui_url is empty",
                'Write for example comfyui_url = "http://127.0.0.1:8188"',
            )
        return value


class _FileDestinationTable(_DestinationTable):
    """What destinations have that end in a directory of files."""

    name_template: NameTemplate = Field("{file_name}", examples=["{family}/{file_name}"])  # may contain /
    file_mode: FileMode = Field("0664", examples=["0664"])  # the source's own mode is never copied
    min_free_bytes: SizeBytes = 5_000_000_000  # below this, deliveries wait: a full disk kills the training run
    sidecars: Annotated[tuple[Sidecar, ...], AsTuple] = Field((), examples=[["preview"]])  # (): none


class DirectoryDestinationConfig(_FileDestinationTable):
    """`kind = "directory"`: a directory of this machine, which may be a mount."""

    kind: Literal["directory"]
    directory: LocalPath = Field(examples=["/comfyui/models/loras"])


class DockerDestinationConfig(_FileDestinationTable):
    """`kind = "docker"`: a directory inside a container, or in a named volume."""

    kind: Literal["docker"]
    container: ContainerName = Field("", examples=["comfyui"])  # this or volume
    volume: ContainerName = Field("", examples=["comfyui-models"], validate_default=True)
    directory: ContainerPath = Field(examples=["/comfyui/models/loras"])  # in the container, or in the volume
    owner: Owner = Field("", examples=["1000:1000"])  # user or user:group; "": that of the directory
    copy_into_stopped: bool = False  # docker cp into a stopped container: off, it is waited for
    docker_host: DockerHost = Field("", examples=["unix:///run/user/1000/docker.sock"])  # "": $DOCKER_HOST or Docker's
    helper_image: ImageName = "busybox:stable"  # for a volume that is not reachable; must be there, is never pulled

    @field_validator("volume")
    @classmethod
    def _container_or_volume(cls, value: str, info: ValidationInfo) -> str:
        if (container := info.data.get("container")) is None:
            return value
        if not container and not value:
            refuse("and so is container: one of them is needed", 'Write for example container = "comfyui"')
        if container and value:
            refuse(f'but container is "{container}": only one can be used', 'Write volume = "", or container = ""')
        return value

    @field_validator("owner")
    @classmethod
    def _only_a_container_knows_names(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("volume") and not value.replace(":", "").isdecimal() and value:
            refuse("is a name, and a volume knows only numbers", 'Write for example "1000:1000"')
        return value

    @field_validator("copy_into_stopped")
    @classmethod
    def _only_a_container_stops(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic's signature
        if value and info.data.get("volume"):
            refuse("does nothing with a volume, which never stops", "Write false")
        if value and not info.data.get("owner", "").replace(":", "").isdecimal() and info.data.get("owner"):
            refuse("needs `owner` in numbers: nothing in a stopped container knows names", 'Write owner = "1000:1000"')
        return value


class _ServerTable(_Table):
    """What everything has that speaks HTTP to an MCP server."""

    url: Url = Field(examples=["http://192.168.0.152:8189"])
    token: Token = SecretStr("")  # sent as a bearer token; better a credential or $LORAWATCH_TOKEN_<NAME>
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 60
    verify_tls: bool = True


class ComfyUIMcpDestinationConfig(_ServerTable, _DestinationTable):
    """`kind = "comfyui-mcp"`: a ComfyUI on another machine, through its MCP server."""

    kind: Literal["comfyui-mcp"]
    api: Literal["auto", "documented", "chunked", "direct", "jsonrpc"] = "auto"
    name_template: FlatNameTemplate = Field("{file_name}", examples=["{stem}-{sha8}"])  # without /
    direct_limit_bytes: SizeBytes = 50_000_000  # up to here one call; above it, chunks
    chunk_bytes: ChunkBytes = 0  # 0: start at 1 MiB, halve on 413 and time-outs, down to 16 KiB
    parallel_chunks: Threads = 1  # more only for servers that place chunks by their index
    verify: Literal["listing", "download"] = "listing"  # download reads every file back to compare its sha256

    @field_validator("parallel_chunks")
    @classmethod
    def _parallel_chunks_need_chunks(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("api") == "direct":
            refuse('does nothing with api = "direct", which knows no chunks', "Write 1")
        return value


class AIToolkitSourceConfig(_ServerTable):
    """`[[sources]]`, `kind = "aitoolkit-mcp"`: models fetched from AI Toolkit's own API."""

    name: Name = Field(examples=["training-box"])
    kind: Literal["aitoolkit-mcp"]
    enabled: bool = True
    url: Url = Field(examples=["http://192.168.0.152:8190"])
    poll_seconds: Seconds = 60  # between two looks at its list of models


DestinationConfig = Annotated[
    DirectoryDestinationConfig | ComfyUIMcpDestinationConfig | DockerDestinationConfig,
    Field(discriminator="kind"),
]
SourceConfig = AIToolkitSourceConfig  # a second kind makes this a union like the one above


class Config(_Table):
    """The whole file."""

    state_directory: LocalPath = "/var/lib/lorawatch"  # of a service; config_loading.py knows where users keep theirs
    watch: WatchConfig = WatchConfig()
    inspect: InspectConfig = InspectConfig()
    retry: RetryConfig = RetryConfig()
    log: LogConfig = LogConfig()
    destinations: Annotated[tuple[DestinationConfig, ...], AsTuple] = ()
    sources: Annotated[tuple[SourceConfig, ...], AsTuple] = ()


# Where a key of the file leads: the tables, and the arrays of tables by `kind`.
TABLES: Mapping[str, type[BaseModel]] = {
    "watch": WatchConfig,
    "inspect": InspectConfig,
    "retry": RetryConfig,
    "log": LogConfig,
}
ARRAYS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "destinations": {
        "directory": DirectoryDestinationConfig,
        "comfyui-mcp": ComfyUIMcpDestinationConfig,
        "docker": DockerDestinationConfig,
    },
    "sources": {"aitoolkit-mcp": AIToolkitSourceConfig},
}


def changes_needing_restart(old: Config, new: Config) -> list[str]:
    """Return the dotted paths that SIGHUP cannot change: the lock and the journal stay where they are."""
    return ["state_directory"] if old.state_directory != new.state_directory else []
