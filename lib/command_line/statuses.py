"""How a command ends: its exit status, as scripts see it."""

from __future__ import annotations

DONE = 0
FAILED = 2  # argparse's own status for a line that it does not understand
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

MEANING = {
    DONE: "done; also where there was nothing to do",
    FAILED: "not done, or not for every study: a sentence on the error output says why; what could be done was done",
    INTERRUPTED: "ended by Ctrl-C; of a training by the second one, the first asks it to save and publish",
}
