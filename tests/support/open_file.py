"""A client of the share that keeps one file open: appends a line to it, ten times a second.

Usage: open_file.py FILE LOG [lock]. With `lock` it holds a lock on the file. The log has a line for
each try: `SECONDS ok NUMBER`, or `SECONDS error NAME` with the name of the errno. Ends on SIGTERM.
"""

import errno
import fcntl
import os
import sys
import time
from pathlib import Path


def main():
    path, log, *options = sys.argv[1:]
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)
    if "lock" in options:
        fcntl.lockf(file, fcntl.LOCK_EX)
    number = 0
    with Path(log).open("w", buffering=1) as told:
        while True:
            number += 1
            try:
                os.write(file, f"{number}\n".encode())
                os.fsync(file)
                told.write(f"{time.time():.3f} ok {number}\n")
            except OSError as error:
                told.write(f"{time.time():.3f} error {errno.errorcode[error.errno]}\n")
            time.sleep(0.1)


if __name__ == "__main__":
    main()
