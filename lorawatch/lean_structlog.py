"""structlog, imported without rich and asyncio.

events.py takes structlog from here. `structlog.dev` imports rich wherever it is installed, for tracebacks that
lorawatch never prints, and `structlog.stdlib` imports asyncio for loggers that it never makes: together 11 MB of every
daemon and 60 ms of every start (measured). While structlog is imported rich is a module that is None in `sys.modules`,
which Python takes for one that is not installed (importlib's documented behaviour), and asyncio one that turns to the
real one when anything of it is asked for. Everybody else gets both as ever.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Deferred(ModuleType):
    """Stands for a module in those that keep it for later."""

    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self.__name__), name)


_before = {name: sys.modules.get(name) for name in ("rich", "asyncio")}
sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system looks for
sys.modules.setdefault("asyncio", _Deferred("asyncio"))
try:
    import structlog
finally:
    for _name, _module in _before.items():
        if _module is None:
            del sys.modules[_name]
        else:
            sys.modules[_name] = _module

__all__ = ["structlog"]
