"""Releases of a folder, side by side; a link says which one runs, so a change is seen at once.

    FOLDER/.releases/NAME          the files of a release, which nobody changes any more
    FOLDER/.releases/NAME.before   a link to the release that ran before it
    FOLDER/.releases/current       a link to the release that runs
    FOLDER/ENTRY                   a link to .releases/current/ENTRY, unless --plain is given

A name ends with the beginning of the digest of what is in it. Runs as the owner of the folder:
`python releases FOLDER [--plain] COMMAND [ARGUMENT…]`.
"""

from __future__ import annotations

import sys

from change import back, prune, stage, switch
from place import Refused, Releases
from show import all_of, diff, has, old, runs

COMMANDS = {
    **{"stage": stage, "switch": switch, "back": back, "prune": prune},
    **{"has": has, "runs": runs, "diff": diff, "old": old, "list": all_of},
}

if __name__ == "__main__":
    folder, command, *arguments = [word for word in sys.argv[1:] if word != "--plain"]
    try:
        COMMANDS[command](Releases(folder, "--plain" in sys.argv), *arguments)
    except Refused as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or folder}: {error.strerror}. Nothing more was changed.")
