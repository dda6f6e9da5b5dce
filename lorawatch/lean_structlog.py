"""structlog, imported without rich.

events.py takes structlog from here. `structlog.dev` imports rich wherever it is installed, for tracebacks that
lorawatch never prints: 4 MB of every daemon and 30 ms of every start (measured). Python takes a module that is None
in `sys.modules` for one that is not installed (importlib's documented behaviour); whoever wants rich gets it after.
"""

import sys

_before = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system looks for
try:
    import structlog
finally:
    if _before is None:
        del sys.modules["rich"]
    else:
        sys.modules["rich"] = _before

__all__ = ["structlog"]
