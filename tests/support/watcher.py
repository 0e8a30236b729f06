"""A client of the share that looks at something until it changes, and says when it has.

Usage: watcher.py stat|read|list PATH: looks at a file's size, at its text (opened each time), or at
a folder's names. Prints `watching` first, and then the seconds since the epoch.
"""

import sys
import time
from pathlib import Path

LOOKS = {
    "stat": lambda path: path.stat().st_size,
    "read": lambda path: path.read_text(),
    "list": lambda path: sorted(path.iterdir()),
}


def main():
    look, path = LOOKS[sys.argv[1]], Path(sys.argv[2])
    before = look(path)
    print("watching", flush=True)
    while look(path) == before:
        time.sleep(0.2)
    print(f"{time.time():.3f}", flush=True)


if __name__ == "__main__":
    main()
