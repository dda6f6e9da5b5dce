"""Codes of destinations and sources behind HTTP or Docker. A pure table."""

from lorawatch.domain.codes.code import Code

SERVER_CODES = (
    Code(
        "connection-failed",
        "No connection to the server: it is not running, or its name, port or TLS certificate is wrong.",
        "Try it: `curl -v URL`. Then correct `url`, or start the server. Deliveries wait and go on by themselves.",
    ),
    Code(
        "connection-lost",
        "The connection to the server broke in the middle of a call, as when it was restarted.",
        "Nothing, if it was; else see the server's log. Uploads go on where they stopped, if the server allows it.",
    ),
    Code(
        "server-busy",
        "The server asked to be left alone for a while (429 or 503).",
        "Nothing: it is tried again when the server allows it.",
    ),
    Code(
        "server-error",
        "The server failed to do what was asked (500, 502, 504), or gave up waiting for it (408).",
        "Look into the log of the server, or of the proxy before it. It is tried again by itself.",
    ),
    Code(
        "content-mismatch",
        "The file was read back from the destination and differs from what was sent.",
        "It is sent again. If that stays, set `parallel_chunks = 1`, and check the server's disk and version.",
    ),
    Code(
        "timeout",
        "Time-out: the server did not answer in time. Large files in one call are the usual cause.",
        "Raise `read_timeout_seconds`, or send smaller chunks: `chunk_bytes = 262144`. It is tried again.",
    ),
    Code(
        "too-large",
        '"Request Entity Too Large" (413): the server or a proxy before it limits the size of one request.',
        "Send chunks: lower `direct_limit_bytes` or `chunk_bytes`. In nginx: `client_max_body_size 100m;`.",
    ),
    Code(
        "not-authorized",
        "The server refuses us (401 or 403). Nothing more is sent to it, so that it is not hammered.",
        "Correct the token (`$LORAWATCH_TOKEN_<NAME>` or the credential), then reload or `lorawatch retry --all`.",
    ),
    Code(
        "wrong-parameters",
        "Wrong parameters: the server does not know what we call its parameters; its API is of another version.",
        'Set `api` to what the server speaks, for example "chunked"; `lorawatch doctor` finds it out.',
    ),
    Code(
        "size-mismatch",
        "Size mismatch: the destination shows the file with another size than was sent, so parts were lost or doubled.",
        "It is sent again from the start. If that stays, set `chunk_bytes` and `parallel_chunks = 1`.",
    ),
    Code(
        "not-listed",
        "The destination said success, but does not list the file. Some server versions store nothing.",
        "Update the server, or use a directory destination; `lorawatch doctor` shows its version.",
    ),
    Code(
        "answered-error",
        "The server answered with an error that says neither that the file is wrong nor that it will pass.",
        "Look into the server's log for the time of the event. It is tried again by itself.",
    ),
    Code(
        "answer-unreadable",
        "The server's answer is none that it should give: a proxy's web page, an empty body or broken JSON.",
        "Check that `url` leads to the MCP server itself: `curl -i URL/mcp/tools`.",
    ),
    Code(
        "redirect-refused",
        "The server sends us on to another host. It is not followed: the token and the file would go there.",
        "If that host is right, write it as `url`.",
    ),
    Code(
        "tool-missing",
        "The server knows none of the tools with which a LoRA can be uploaded.",
        "Check `url` and the server's version: `curl URL/mcp/tools`; tools may exist that this list leaves out.",
    ),
    Code(
        "overwrites-in-place",
        "The server writes a new version of a LoRA into the old file. ComfyUI may have that mapped: it can draw with a"
        " mixture of both, and a shorter file ends it.",
        'Set `name_template = "{stem}-{sha8}"`: then every version gets a file of its own.',
    ),
    Code(
        "upload-lost",
        "The server has forgotten a half-done upload, as after its restart. It is begun anew.",
        "Nothing; it goes on by itself.",
    ),
    Code(
        "chunks-not-side-by-side",
        "Chunks were sent side by side, and the server put them into another order. They were sent again, in order.",
        "Nothing: chunks go there one after the other from now on. Set `parallel_chunks = 1` to spare the first try.",
    ),
    Code(
        "chunk-order-unproven",
        "Chunks were sent side by side, and the server gives no hash back: nothing proves that it put them in order.",
        "Set `parallel_chunks = 1`, unless you know that this server places chunks by their index.",
    ),
    Code(
        "docker-unavailable",
        "Docker does not answer, lorawatch may not use its socket, or there is no `docker` command.",
        "`sudo systemctl status docker`; to permit it: `sudo usermod -aG docker lorawatch` (this equals root access).",
    ),
    Code(
        "container-missing",
        "There is no container or volume with this name. Deliveries wait until there is.",
        "See the names with `docker ps -a` and `docker volume ls`, and correct `container` or `volume`.",
    ),
    Code(
        "container-stopped",
        "The container is not running. Deliveries wait until it does.",
        "`docker start CONTAINER`; they go on by themselves. To copy into it nevertheless: `copy_into_stopped = true`.",
    ),
    Code(
        "container-without-shell",
        "The container is stopped, or has no shell with the usual tools: files come by `docker cp`, which can do less.",
        "Nothing, if that is enough; the README says what differs. Better: a bind mount with a directory destination.",
    ),
    Code(
        "helper-image-missing",
        "The volume's files cannot be reached from outside, and the image of the container that could is not there.",
        "`docker pull busybox:stable`, or set `helper_image` to an image that is there and has a shell.",
    ),
    Code(
        "owner-not-set",
        "What is delivered into a container cannot be given to the `owner`. Without a shell there names are unknown.",
        'Write `owner` in numbers, such as `"1000:1000"`; see whether the container may change owners (cap_drop).',
    ),
)
