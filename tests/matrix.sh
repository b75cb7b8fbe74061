#!/bin/sh
# Walks through the second project (tests/second_project) with Callboard installed from a wheel, on every Python from 3.11
# to 3.13 that is there, each with the oldest and the newest Django that runs on it. PAIRS="3.13:6.1" chooses some.
set -eu
cd "$(dirname "$0")/.."

interpreter() {  # the path of a version, on the PATH or under pyenv
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
# Building a wheel leaves its work in the source tree.
trap 'rm -rf "$folder" build callboard.egg-info' EXIT
.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir "$folder" .

for pair in ${PAIRS:-3.11:5.2 3.12:5.2 3.12:6.0 3.13:6.0 3.13:6.1}; do
    version=${pair%:*} django=${pair#*:}
    python=$(interpreter "$version")
    if [ -z "$python" ]; then
        echo "Python $version with Django $django: skipped, there is no Python $version"
        continue
    fi
    echo "Python $version with Django $django:"
    "$python" -m venv "$folder/$version-$django"
    "$folder/$version-$django/bin/python" -m pip install --quiet "$folder"/callboard-*.whl "Django~=$django.0"
    SECOND_PROJECT_PYTHON="$folder/$version-$django/bin/python" \
        .venv/bin/python -m pytest -q -p no:cacheprovider tests/acceptance/test_second_project.py "$@"
done
