"""Have ComfyUI compute a workflow, wait for it, and save what it made. Behind `workflow --run`.

Runs on the main thread. Whatever ends the wait, also Ctrl-C, leaves ComfyUI at its work.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lorawatch.comfyui.client import ComfyUI
from lorawatch.comfyui.steps import StepListener
from lorawatch.domain.comfyui import History, Image, NodeError, Prompted, Queue
from lorawatch.domain.errors import ComfyUIDownError, WorkflowError
from lorawatch.domain.ports import Stop
from lorawatch.workflows.graph import Workflow, title_of
from lorawatch.workflows.models import Choice
from lorawatch.workflows.picking import Pick

POLL_SECONDS = 0.5
# While it loads a large model it may answer nobody for a while; a restart is noticed by its empty queue.
PATIENCE_SECONDS = 120.0
_NODE_IS_MISSING = frozenset({"invalid_prompt", "missing_node_type"})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far ComfyUI is: how many graphs may be before ours, or what of ours it computes."""

    waiting_for: int = 0
    node: str = ""  # the title of the node that it computes
    done: int = 0
    total: int = 0  # of its steps; 0: it does not tell
    is_silent: bool = False  # it does not answer now


def compute(
    comfyui: ComfyUI, workflow: Workflow, pick: Pick, *, report: Callable[[Progress], None], stop: Stop
) -> tuple[Image, ...]:
    """Send the workflow, and return the files that were made, once they are.

    Raises WorkflowError if it is refused, fails, or is lost; ComfyUIError if ComfyUI stays silent for too long.
    """
    with StepListener(comfyui.url) as steps:
        prompted = comfyui.queue_prompt(workflow, client_id=steps.client_id, stop=stop)
        if prompted.prompt_id is None:
            raise _refusal(prompted, pick)
        return _wait(comfyui, prompted.prompt_id, lambda queue: report(_progress(queue, steps, workflow)), stop)


def _wait(comfyui: ComfyUI, prompt_id: str, report: Callable[[Queue | None], None], stop: Stop) -> tuple[Image, ...]:
    """Wait until it has ended; `report` is given the queue, or None while ComfyUI does not answer."""
    silent_since: float | None = None
    while True:
        try:
            queue = comfyui.queue(stop=stop)  # before the history: what leaves the queue is there already
            ended = comfyui.history(prompt_id, stop=stop)
            if ended is not None:
                return _made(ended)
            if queue.is_empty:
                raise _lost(prompt_id)
            silent_since = None
            report(queue)
        except ComfyUIDownError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > PATIENCE_SECONDS:
                raise
            report(None)
        stop.wait(POLL_SECONDS)


def _progress(queue: Queue | None, steps: StepListener, workflow: Workflow) -> Progress:
    if queue is None:
        return Progress(is_silent=True)
    step = steps.latest
    if step is None or step.node_id not in workflow:
        return Progress(waiting_for=queue.running + queue.pending - 1)
    return Progress(node=title_of(workflow[step.node_id]), done=step.done, total=step.total)


def save(comfyui: ComfyUI, images: tuple[Image, ...], directory: str) -> Iterator[str]:
    """Fetch each file into a directory, and yield its path. Nothing there is overwritten."""
    for image in images:
        # The server names the file: only the last part of that is taken, and no hidden name.
        name = os.path.basename(image.filename.replace("\\", "/")).lstrip(".") or "picture"
        path, descriptor = _create(directory, name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                comfyui.view(image, file.write)
        except BaseException:
            os.unlink(path)
            raise
        yield path


def _create(directory: str, name: str) -> tuple[str, int]:
    """Make a new file of this name, or with a number if it is taken; return its path and a descriptor."""
    stem, extension = os.path.splitext(name)
    number = 1
    while True:
        path = os.path.join(directory, name if number == 1 else f"{stem}-{number}{extension}")
        try:
            return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            number += 1


def _made(ended: History) -> tuple[Image, ...]:
    if not ended.is_success:
        code = "none-type-not-iterable" if "NoneType" in ended.reason else "workflow-failed"
        raise WorkflowError(f"ComfyUI failed to compute it: {ended.reason or 'no reason given'}", code=code)
    kept = tuple(image for image in ended.images if image.folder == "output")
    if not kept:
        raise WorkflowError("ComfyUI computed it, but tells of no file that it made", code="workflow-failed")
    return kept


def _lost(prompt_id: str) -> WorkflowError:
    return WorkflowError(
        f"ComfyUI knows nothing of {prompt_id} any more: it was restarted, or its queue was cleared",
        code="workflow-failed",
        fix="run the command again",
    )


def _refusal(prompted: Prompted, pick: Pick) -> WorkflowError:
    """Put ComfyUI's reasons into words: which file to get, or which part is too old."""
    if prompted.type in _NODE_IS_MISSING and not prompted.node_errors:
        return WorkflowError(f"ComfyUI refuses the workflow: {prompted.message}", code="node-missing")
    told = [_explained(error, pick) for error in prompted.node_errors]
    if not told:
        return WorkflowError(f"ComfyUI refuses the workflow: {prompted.message}", code="workflow-refused")
    code, _, fix = told[0]
    return WorkflowError("\n  ".join(dict.fromkeys(words for _, words, _ in told)), code=code, fix=fix)


def _explained(error: NodeError, pick: Pick) -> tuple[str, str, str]:
    """Return the code, the words and, if there is a better one than the code's, the cure of one node's error."""
    if error.type == "value_not_in_list" and error.input_name == "lora_name":
        return "value-not-in-list", f"ComfyUI does not have the LoRA {error.received}", ""
    choice = _choice(error, pick)
    if error.type == "value_not_in_list" and choice is not None:
        return "model-missing", choice.lack, choice.cure
    return "workflow-refused", f"ComfyUI refuses the node {error.class_type}: {error.message}", ""


def _choice(error: NodeError, pick: Pick) -> Choice | None:
    return next((choice for choice in pick.choices.values() if choice.name == error.received), None)
