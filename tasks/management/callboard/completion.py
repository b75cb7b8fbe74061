"""``callboard completion``: a script with which a shell completes the words of ``manage.py``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from django.core.management import get_commands, load_command_class

from tasks.management.callboard import parsing
from tasks.management.callboard.output import Output

SHELLS = ("bash", "fish", "zsh")
#: Commands of Django that operators use; those of ``tasks`` and ``scheduler_site`` are completed too.
_DJANGOS = frozenset({"changepassword", "check", "createsuperuser", "dbshell", "migrate", "shell", "showmigrations"})
_OURS = frozenset({"scheduler_site", "tasks", "dlq"})


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "completion", completion, help="print a script with which a shell completes commands and options",
        examples=["completion bash", "completion zsh", "completion fish"],
    )  # fmt: skip
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def completion(options: Namespace, out: Output) -> None:
    """Print the script, or as JSON the same text."""
    # Here, because no other command needs it.
    import shtab

    script = shtab.complete(_whole_command_line(), options.shell)
    if out.is_json:
        out.json({"shell": options.shell, "script": script})
    else:
        out.lines([script])


def _whole_command_line() -> ArgumentParser:
    """Build the parser of manage.py, which Django itself never has in one piece."""
    whole = ArgumentParser(prog="manage.py")
    apps = get_commands()
    names = sorted(name for name, app in apps.items() if name in _DJANGOS or app in _OURS)

    def make_parser(*, prog: str, **_: Any) -> ArgumentParser:
        name = prog.split()[-1]
        return load_command_class(apps[name], name).create_parser("manage.py", name)

    # argparse calls it like a class.
    as_class: Any = make_parser
    commands = whole.add_subparsers(parser_class=as_class)
    for name in names:
        summary = load_command_class(apps[name], name).help
        commands.add_parser(name, help=summary.partition("\n")[0].partition(". ")[0])
    return whole
