"""Files of a kibibyte over an S3 by s3fs, some at once; run by a Python that has it. Prints what a second saw."""

from __future__ import annotations

import os
import sys
import time


def main(url: str, files: int, at_once: int) -> None:
    """Write and read."""
    import s3fs

    fs = s3fs.S3FileSystem(key="any", secret="any", endpoint_url=url)
    fs.mkdir("bench")
    content = os.urandom(1024 - 8)
    fs.pipe({f"bench/warm/{number}": b"x" for number in range(100)}, batch_size=at_once)
    names = [f"bench/{number % 10:03}/{number:06}" for number in range(files)]
    begin = time.perf_counter()
    fs.pipe({name: content + name.encode()[-8:] for name in names}, batch_size=at_once)
    written = time.perf_counter()
    found = fs.cat(names, batch_size=at_once)
    read = time.perf_counter()
    assert len(found) == files
    print(files / (written - begin), files / (read - written))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
