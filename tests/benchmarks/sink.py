"""A server that throws away what it is sent, as fast as Python can: `python -m tests.benchmarks.sink HOST PORT`.

It speaks as much of the documented dialect as an upload needs, and keeps nothing but the name and the size. Large
bodies are never looked at: what is measured is the sender.
"""

import json
import os
import socket
import sys
import threading

SMALL_BYTES = 8192  # calls without content; everything above is a chunk
RECEIVE_BYTES = 1 << 20
_listed: dict[str, int] = {}
_pending: dict[str, tuple[str, int]] = {}


def main() -> None:
    # As its parent wants it: a benchmark that is killed leaves no server behind.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _serve(connection: socket.socket) -> None:
    buffer = bytearray(RECEIVE_BYTES)
    view = memoryview(buffer)
    held = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in held:
                count = connection.recv_into(view)
                if not count:
                    return
                held += view[:count]
            head, _, held = held.partition(b"\r\n\r\n")
            length = _content_length(head)
            if length > SMALL_BYTES:
                left = length - len(held)
                held = b""
                while left > 0:
                    left -= connection.recv_into(view, min(left, RECEIVE_BYTES))
                body = b""
            else:
                while len(held) < length:
                    held += connection.recv(SMALL_BYTES)
                body, held = held[:length], held[length:]
            _answer(connection, head, body, is_chunk=length > SMALL_BYTES)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _answer(connection: socket.socket, head: bytes, body: bytes, *, is_chunk: bool) -> None:
    status = "200 OK"
    result: dict[str, object] = {"status": "chunk_received"}
    if head.startswith(b"GET"):
        status = "404 Not Found"
    elif not is_chunk:
        result = _call(json.loads(body))
    text = json.dumps({"success": True, "result": result, "error": None}).encode()
    connection.sendall(
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
    )


def _call(call: dict[str, dict[str, object]]) -> dict[str, object]:
    tool, arguments = str(call["tool"]), call["arguments"]
    upload_id = str(arguments.get("upload_id"))
    if tool == "list-loras":
        return {"loras": [{"filename": name, "size": size} for name, size in _listed.items()]}
    if tool.endswith("start"):
        _pending[upload_id] = (str(arguments["filename"]), int(str(arguments["total_size"])))
    elif tool.endswith("finish"):
        name, size = _pending.pop(upload_id)
        _listed[name] = size
    elif upload_id not in _pending:
        return {"error": "Upload ID not found" if "append" in tool else f"Tool '{tool}' not found"}
    return {"status": "ok", "upload_id": upload_id}


if __name__ == "__main__":
    main()
