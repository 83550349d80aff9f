"""Prints the most frequent words of a result on the standard input."""

import json
import sys

words = json.load(sys.stdin)
for word, count in sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))[:10]:
    print(f"{count:>9,}  {word}")
