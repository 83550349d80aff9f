"""Run in a pod by the tests of FileVolumes: puts and gets files through the filer, with a token of its own making.

What a file holds follows from its name, so that who reads it knows what it should be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.request

FOLDER = f"/var/run/gristmill/volumes/{os.environ['VOLUME']}"


def token(key: str) -> str:
    """Return a token that is good for a minute."""

    def coded(text: bytes) -> bytes:
        return base64.urlsafe_b64encode(text).rstrip(b"=")

    said = [
        json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, {"exp": int(time.time()) + 60})
    ]
    signed = b".".join(map(coded, said))
    return b".".join([signed, coded(hmac.digest(key.encode(), signed, "sha256"))]).decode()


def content(name: str) -> bytes:
    """Return what a file holds: some ten thousand bytes, of a few a megabyte."""
    number = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)
    return hashlib.sha256(name.encode()).digest() * (number % 1000 + 1 + 32768 * (number % 16 == 0))


def call(method: str, url: str, key: str | None, data: bytes | None = None) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    request = urllib.request.Request(url, data, method=method)
    if key is not None:
        request.add_header("Authorization", f"Bearer {token(key)}")
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
    except OSError as error:
        return 0, str(error).encode()


def written(url: str, key: str, data: bytes) -> int:
    """Write a file, and return the status; what does not answer is tried again: a Service is new for a moment."""
    deadline = time.monotonic() + 20
    while (status := call("PUT", url, key, data)[0]) == 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    return status


def read(field: str) -> str:
    """Return what the mounted Secret says."""
    with open(f"{FOLDER}/{field}") as file:
        return file.read()


def main() -> None:
    """Do `put FIRST STOP`, `check FIRST STOP`, or `status METHOD URL [KEY]`, and print what came of it as JSON."""
    match sys.argv[1:]:
        case ["status", method, url, *key]:
            said = call(method, url, key[0] if key else None, b"x" if method == "PUT" else None)[0]
            print(json.dumps(said))
        case [what, first, stop]:
            url, key, wrong = read("url"), read("key"), []
            for number in range(int(first), int(stop)):
                name = f"file-{number:05}"
                if what == "put":
                    status = written(f"{url}/tests/{name}", key, content(name))
                    good = status in (200, 201)
                else:
                    status, body = call("GET", f"{url}/tests/{name}", key)
                    good = body == content(name)
                if not good:
                    wrong.append([name, status])
            print(json.dumps(wrong))


main()
