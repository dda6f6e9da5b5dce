"""Snapshots of a journal for the tests of what `status` shows: one of each thing that a person may meet."""

from lorawatch.domain.model import Artifact, Delivery, DeliveryState, Facts, Version
from lorawatch.journal.views import CarriedView, DeliveryView, DestinationView, FileView
from lorawatch.status_report import Snapshot

NOW = 1_700_000_000.0


def delivery(
    state: DeliveryState,
    number: int = 7,
    *,
    path: str = "/out/flux_portrait/flux_portrait_000001500.safetensors",
    destination: str = "comfyui",
    size_bytes: int = 300_000_000,
    **values: object,
) -> Delivery:
    artifact = Artifact(1, "/out", path, Version(1, size_bytes, 1), "0" * 64, Facts())
    name = path.rpartition("/")[2]
    return Delivery(number, artifact, destination, name, name, state, 1, **values)  # type: ignore[arg-type]  # by name


def view(
    delivered: Delivery, *, evidence: str | None = None, begun_bytes: int = 0, seconds_ago: float = 10
) -> DeliveryView:
    return DeliveryView(delivered, evidence, NOW - seconds_ago, begun_bytes)


def eventful() -> Snapshot:
    """Return a snapshot with something in every state."""
    down = "no connection to http://192.168.0.152:8189: Connection refused"
    trained = "/out/wan_dance_high_noise"
    return Snapshot(
        "/var/lib/lorawatch",
        NOW,
        is_running=True,
        deliveries=[
            view(delivery(DeliveryState.SENDING, 11, sent_bytes=192_000_000)),
            view(
                delivery(
                    DeliveryState.WAITING, 12, path=f"{trained}/wan_dance_high_noise_000000250.safetensors",
                    destination="render-box", code="connection-failed", reason=down, next_attempt_at=NOW + 38,
                )
            ),
            view(
                delivery(
                    DeliveryState.WAITING, 13, path="/out/猫の絵/猫の絵_000000500.safetensors", destination="comfyui",
                    code="low-disk-space", next_attempt_at=NOW + 90,
                    reason="3.1 GB are free in /comfyui/models/loras, 5.3 GB are needed",
                )
            ),
            view(delivery(DeliveryState.PLANNED, 14, path="/out/sketch/sketch.safetensors", destination="comfyui")),
            view(
                delivery(
                    DeliveryState.FAILED, 15, path="/out/x/x.safetensors", destination="render-box",
                    code="name-refused", reason="the server refuses the name 'x.safetensors'",
                )
            ),
            view(
                delivery(DeliveryState.DELIVERED, 10, path="/out/cat_v2/cat_v2.safetensors", size_bytes=151_000_000),
                evidence="sha256", seconds_ago=12,
            ),
        ],
        files=[
            FileView("/out/anime/anime_000000250.safetensors", "settling", None, "it is still being written"),
            FileView("/out/model.safetensors", "rejected", "html-page", "it is a web page, not a model"),
            FileView("/out/vae.safetensors", "skipped", "kind-not-wanted", "it is of kind vae; wanted: lora"),
        ],
        destinations=[
            DestinationView("comfyui", "directory", "/comfyui/models/loras", "up", None, None, None),
            DestinationView(
                "render-box", "comfyui-mcp", "http://192.168.0.152:8189", "down", "connection-failed", down, NOW + 38
            ),
        ],
        counts={"planned": 1, "sending": 1, "waiting": 2, "delivered": 128, "failed": 1, "cancelled": 0},
        destination_counts={
            "comfyui": {"sending": 1, "waiting": 1, "planned": 1, "delivered": 100},
            "render-box": {"waiting": 1, "failed": 1, "delivered": 28},
        },
        file_counts={"settling": 1, "rejected": 1, "skipped": 1},
        carried=[CarriedView(10, "comfyui", 151_000_000, NOW - 12)],
    )  # fmt: skip
