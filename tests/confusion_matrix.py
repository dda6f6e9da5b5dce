"""Prints how the family table judges every key list: `python -m tests.confusion_matrix`.

One line for each family: how many of its lists were named rightly, how many were left open (and among which
families), how many wrongly. It ends with exit code 1 if any is wrong.
"""

import sys
from collections import Counter, defaultdict

from lorawatch.inspection.families import recognise
from tests.key_lists.patterns import read_key_lists


def main() -> int:
    """Judge all lists and print the matrix."""
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for key_list in read_key_lists():
        verdict = recognise(key_list.shapes, {})
        answers[key_list.family][verdict.family or " or ".join(verdict.families) or "unknown"] += 1
    total: Counter[str] = Counter()
    print(f"{'family':<20} {'lists':>5} {'right':>5} {'open':>5} {'wrong':>5}   answers other than the family")
    for family, counts in sorted(answers.items()):
        right = counts.pop(family, 0)
        still_open = sum(number for answer, number in counts.items() if " or " in answer or answer == "unknown")
        wrong = counts.total() - still_open
        others = "; ".join(f"{number} x {answer}" for answer, number in counts.most_common())
        print(f"{family:<20} {right + counts.total():>5} {right:>5} {still_open:>5} {wrong:>5}   {others}")
        total.update({"right": right, "open": still_open, "wrong": wrong})
    print(f"{'all':<20} {total.total():>5} {total['right']:>5} {total['open']:>5} {total['wrong']:>5}")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
