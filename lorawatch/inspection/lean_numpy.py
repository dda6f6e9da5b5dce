"""numpy, imported without the threads of its linear algebra.

The weights scan takes numpy from here. No matrix is ever multiplied, but OpenBLAS starts a thread for each core when it
is loaded: 80 ms of CPU on two cores, half of what the import costs (measured). It reads this variable at that moment
only; whoever has set it keeps it, and no child process inherits ours.
"""

import os

_VARIABLE = "OPENBLAS_NUM_THREADS"

_is_ours = _VARIABLE not in os.environ
os.environ.setdefault(_VARIABLE, "1")
try:
    import numpy as np
finally:
    if _is_ours:
        del os.environ[_VARIABLE]

__all__ = ["np"]
