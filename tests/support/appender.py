"""A client of the share: appends a line to a file and reads it back, ten times a second.

Usage: appender.py FILE LOG. The log has a line for each try: `SECONDS ok NUMBER`, once the line is
on the server's disk, or `SECONDS error TEXT`. Ends on SIGTERM.
"""

import os
import sys
import time
from pathlib import Path


def main():
    path, log = map(Path, sys.argv[1:])
    number = 0
    with log.open("w", buffering=1) as told:
        while True:
            number += 1
            try:
                with path.open("a") as file:
                    file.write(f"{number}\n")
                    file.flush()
                    os.fsync(file.fileno())
                path.read_text()
                told.write(f"{time.time():.3f} ok {number}\n")
            except OSError as error:
                told.write(f"{time.time():.3f} error {error}\n")
            time.sleep(0.1)


if __name__ == "__main__":
    main()
