#!/bin/sh
# Makes or refreshes a virtual environment: venv.sh FOLDER REQUIREMENTS... Does nothing when nothing changed.
# PYTHON=... chooses the interpreter; else an existing folder keeps its own, and a new one gets the newest there is.
set -eu

venv=$1
shift
stamp=$venv/.installed-$(basename "$1" .txt)

die() {
    echo "make: $*" >&2
    exit 1
}

supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || die "PYTHON=$PYTHON: expected Python 3.11 or newer, got $("$PYTHON" -V 2>/dev/null || echo nothing that runs)"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed, found $(python3 -V 2>/dev/null || echo none); name another with PYTHON=..."
}

usable() {
    supported "$venv/bin/python" && { [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version "$venv/bin/python")" ]; }
}

if ! usable; then
    python=$(choose_python)
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        die "$python has no venv module; on Debian or Ubuntu: apt install python$(version "$python")-venv"
    echo "Setting up $venv with Python $(version "$python"); the first time takes a minute or two ..."
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "could not make $venv, see above"
fi

hash=$(cat "$@" | "$venv/bin/python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$hash" ]; then
    echo "Installing $1 ..."
    rm -f "$stamp"
    files=$(printf ' -r %s' "$@")
    # Twice quiet: errors only. Unquoted on purpose, one word per file.
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet --quiet --no-input $files ||
        die "pip could not install what $1 pins, see above"
    echo "$hash" > "$stamp"
fi
