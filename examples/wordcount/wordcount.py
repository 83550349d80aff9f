"""Counts words: a Counter for each chunk of lines, added up over the whole job."""

import re
from collections import Counter

WORD = re.compile(r"[a-z]{3,}")


def count_words(lines):
    """Return how often each word occurs in a chunk of lines."""
    return Counter(WORD.findall(lines.text.lower()))


def add(left, right):
    """Return two counts as one."""
    return Counter(left) + Counter(right)
