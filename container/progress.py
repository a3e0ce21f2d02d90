# SPDX-License-Identifier: Apache-2.0
"""Shows the progress of a copy: every five seconds a line in the log, on a terminal a bar. Ends with the process that started it.

usage: progress.py FILE PID

PID is that process; FILE is what module_utils/cm_persist/tree/progress.py counts in. CM_PERSIST_LOG=json makes lines of JSON.
"""

import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from module_utils.cm_persist.text import files, size  # noqa: E402
from module_utils.cm_persist.tree.progress import read  # noqa: E402

INTERVAL = 4.5  # seconds; read each quarter of a second, that gives a line at least every five
WIDTH = 24  # of a bar


class ProgressLog:
    """Prints what was read.

    Args:
        stream (text file): where to.
        as_json (bool): JSON, not text.
        terminal (bool): a bar instead of lines.
    """

    def __init__(self, stream, as_json=False, terminal=False):
        self._stream, self._json, self._terminal = stream, as_json, terminal and not as_json
        self._last, self._shown_at = None, 0.0

    def see(self, seen, now):
        """Take what was read (Seen or None) at a time (float, seconds), and print it if the last line is old enough."""
        if self._last is not None and (seen is None or (seen.path, seen.began) != (self._last.path, self._last.began)):
            if seen is None:
                return
            self.finish(now)
        if seen is None:
            return
        self._shown_at = self._shown_at or seen.began
        if now - self._shown_at < (0.5 if self._terminal else INTERVAL):
            if self._last is not None:
                self._last = seen
            return
        self._last, self._shown_at = seen, now
        self._say(seen, now, False)

    def finish(self, now):
        """Print the totals, if progress was printed before."""
        last, self._last = self._last, None
        if last is not None:
            self._say(last, now, True)

    def _say(self, seen, now, over):
        seconds = max(now - seen.began, 0.001)
        rate = seen.bytes / seconds
        left = (seen.of_bytes - seen.bytes) / rate if rate and seen.of_bytes > seen.bytes else 0.0
        if self._json:
            self._stream.write(json.dumps(_event(seen, seconds, rate, left, over)) + "\n")
        elif self._terminal:
            share = min(seen.bytes / seen.of_bytes, 1.0) if seen.of_bytes else 0.0
            bar = "#" * int(WIDTH * share) + "." * (WIDTH - int(WIDTH * share))
            text = "[{}] {:3.0f} % ".format(bar, 100 * share) if seen.path else ""
            self._stream.write("\r\x1b[Kcm_persist: {}{}{}".format(text, _words(seen, seconds, rate, left, over), "\n" * over))
        else:
            self._stream.write("cm_persist: {}\n".format(_words(seen, seconds, rate, left, over)))
        self._stream.flush()


def _words(seen, seconds, rate, left, over):
    if not seen.path:
        return "{} to disk, {:.0f} s".format("written" if over else "writing", seconds)
    if over:
        return "{}: copied {}, {} in {:.1f} s, {}/s".format(seen.path, files(seen.files), size(seen.bytes), seconds, size(rate))
    return "{}: copying, {:,} of {}, {} of {}, {}/s, {:.0f} s left".format(
        seen.path, seen.files, files(seen.of_files), size(seen.bytes), size(seen.of_bytes), size(rate), left
    )


def _event(seen, seconds, rate, left, over):
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "level": "info",
        "event": "progress",
        "message": _words(seen, seconds, rate, left, over),
        "path": seen.path,
        "files": seen.files,
        "of_files": seen.of_files,
        "bytes": seen.bytes,
        "of_bytes": seen.of_bytes,
        "seconds": round(seconds, 1),
        "bytes_per_second": round(rate),
        "seconds_left": round(left),
        "done": over,
    }


def main():
    """Print progress until SIGTERM comes, or the process that started this one is gone."""
    file, parent = sys.argv[1], int(sys.argv[2])
    over = []
    signal.signal(signal.SIGTERM, lambda *_what: over.append(True))
    teller = ProgressLog(sys.stdout, os.environ.get("CM_PERSIST_LOG") == "json", sys.stdout.isatty())
    while not over and os.getppid() == parent:
        teller.see(read(file), time.monotonic())
        time.sleep(0.25)
    teller.see(read(file), time.monotonic())
    teller.finish(time.monotonic())


if __name__ == "__main__":
    main()
