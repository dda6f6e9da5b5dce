"""lorawatch on a machine where no other program runs and no container: what a developer has there is not found.

Run as a program, it takes the words of the command line.
"""

from lorawatch.cli import main
from lorawatch.finding import containers, survey

survey.running = lambda root="/": []  # type: ignore[attr-defined]
containers.running = lambda socket="": []

if __name__ == "__main__":
    main()
