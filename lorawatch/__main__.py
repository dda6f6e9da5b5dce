"""`python -m lorawatch` is the same as `lorawatch`."""

from lorawatch.cli import main

main()
