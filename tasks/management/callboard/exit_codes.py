"""The exit codes of the operators' commands; ``docs/cli.md`` has the table. 1 is ``CommandError``'s own."""

import signal

#: Something was refused or failed.
REFUSED = 1
#: The command line is not valid: nothing was done.
USAGE = 2
#: The time given was over first, as ``timeout(1)`` says it.
TIMED_OUT = 124
#: Ctrl-C, as shells say it.
INTERRUPTED = 128 + signal.SIGINT
