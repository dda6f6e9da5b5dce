"""Which step checkpoints are read at all. Used by one intake thread; it lists directories through the source."""

import os

from lorawatch.domain.model import Candidate
from lorawatch.domain.planning import CheckpointPolicy, series_of, step_of, surplus_steps
from lorawatch.domain.ports import Source

CODE = "checkpoint-not-wanted"
_MOST_DIRECTORIES = 64  # directories whose steps are remembered; one training run writes into one


class CheckpointFilter:
    """Applies `checkpoints` from names alone, before a byte is read."""

    def __init__(self, policy: CheckpointPolicy, source: Source) -> None:
        self._policy = policy
        self._source = source
        self._steps: dict[str, tuple[int, dict[str, set[int]]]] = {}

    def refusal(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return (code, reason) for a checkpoint that is not wanted. A final file always is."""
        step = step_of(candidate.path)
        if refused := self._policy.refusal(step):
            return refused
        if step is None or self._policy.latest is None:
            return None
        steps = self._steps_beside(candidate.path).get(series_of(candidate.path), set())
        if step in surplus_steps(steps | {step}, self._policy):
            return CODE, f"it is the checkpoint of step {step}, and {self._policy.latest} newer ones stand beside it"
        return None

    def _steps_beside(self, path: str) -> dict[str, set[int]]:
        """Return the steps in the file's directory by series, listed again when the directory has changed."""
        directory = os.path.dirname(path)
        try:
            changed_ns = os.stat(directory).st_mtime_ns
        except OSError:
            return {}
        cached = self._steps.get(directory)
        if cached is not None and cached[0] == changed_ns:
            return cached[1]
        steps: dict[str, set[int]] = {}
        for each in self._source.scan(directory):
            step = step_of(each.path)
            if step is not None and os.path.dirname(each.path) == directory:
                steps.setdefault(series_of(each.path), set()).add(step)
        if len(self._steps) >= _MOST_DIRECTORIES:
            self._steps.pop(next(iter(self._steps)))
        self._steps[directory] = (changed_ns, steps)
        return steps
