"""A system call that fails on demand: the kernel's refusals that no test machine can be made to give."""

import os
from collections.abc import Callable

import pytest


class FailingCalls:
    """Replaces functions of `os` for one test. Everything that is not told to fail works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.failures = 0

    def fail(self, name: str, number: int, *, when: Callable[..., bool] = lambda *_args, **_more: True) -> None:
        """Let `os.<name>` fail with this errno whenever its arguments say so."""
        real = getattr(os, name)

        def call(*args: object, **more: object) -> object:
            if when(*args, **more):
                self.failures += 1
                raise OSError(number, os.strerror(number))
            return real(*args, **more)

        self._monkeypatch.setattr(os, name, call)

    def heal(self) -> None:
        """Let everything work again."""
        self._monkeypatch.undo()
