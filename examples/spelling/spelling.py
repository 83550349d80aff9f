"""Suggests a word for one that is not in a dictionary; the dictionary is loaded once in each worker process."""

import difflib
import keyword
import os
import pydoc_data.topics


class Speller:
    """A dictionary that is kept between chunks, as a model or a connection would be."""

    def __init__(self):
        """Take the words of Python's own documentation: the costly part, done once."""
        self.words = set()
        for text in pydoc_data.topics.topics.values():
            self.words.update(word for word in text.lower().split() if word.isalpha())
        self.words.update(keyword.kwlist)
        self.calls = 0
        print(f"loaded {len(self.words):,} words in process {os.getpid()}")

    def __call__(self, word):
        """Return the word, the nearest known one, and how many words this process has looked at."""
        self.calls += 1
        near = [word] if word in self.words else difflib.get_close_matches(word, self.words, n=1, cutoff=0.7)
        return {"word": word, "nearest": near[0] if near else None, "seen": self.calls}
