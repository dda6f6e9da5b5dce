"""How long lorawatch takes and what it costs, beside the tools people use instead. `python -m tests.benchmarks`."""
