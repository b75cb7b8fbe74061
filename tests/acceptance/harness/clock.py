"""A clock that a test sets forward and back for some processes, by a library loaded before the C library."""

import shutil
import subprocess
from pathlib import Path

#: The reason for which such tests are skipped.
NEEDS = "needs a C compiler (cc) for a clock of a process's own"

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    char text[32] = {0};
    const char *path = getenv("STAGE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atol(text);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, at);
    if (!code && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += offset();
    return code;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The time of day as some processes see it; the monotonic clock is left alone, as by a jump of the real one.

    Parameters:
        folder: for the library and the file that says how far it is off.
    """

    def __init__(self, folder: Path) -> None:
        self._library = folder / "clock.so"
        self._offset = folder / "clock"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", self._library, "-x", "c", "-", "-ldl"],
            input=_SOURCE, text=True, check=True,
        )  # fmt: skip

    @staticmethod
    def is_available() -> bool:
        """Whether this machine can build it."""
        return shutil.which("cc") is not None

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of a process that uses this clock."""
        return {"LD_PRELOAD": str(self._library), "STAGE_CLOCK": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Set the clock off by so much, at once."""
        file = self._offset.with_suffix(".new")
        file.write_text(str(seconds))
        file.rename(self._offset)
