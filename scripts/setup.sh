#!/bin/sh
# Makes .venv with the versions and hashes of requirements.lock, and the project in it, editable.
# Needs a Python with venv and pip; uses the uv on PATH, or brings its own into .uv. Never downloads a Python.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

version_of() { "$1" --version 2>/dev/null || echo 'not a Python that runs'; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" && { echo "$PYTHON"; return; }
        say "COS needs Python 3.11 or newer; PYTHON=$PYTHON is $(version_of "$PYTHON"): give the path of a newer one."
        exit 1
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        new_enough "$name" && { echo "$name"; return; }
    done
    say "COS needs Python 3.11 or newer; python3 is $(version_of python3): install one, or name it with make PYTHON=/path/to/python3.12."
    exit 1
}

# An old uv of the machine may not know what is asked of it here; then ours is used.
find_uv() {
    if version=$(uv --version 2>/dev/null) && "$python" - "$version" <<'CODE'
import sys
sys.exit(tuple(int(part) for part in sys.argv[1].split()[1].split(".")[:2]) < (0, 7))
CODE
    then
        echo uv
        return
    fi
    if ! cmp -s scripts/bootstrap.lock .uv/bootstrap.lock || ! .uv/bin/uv --version >/dev/null 2>&1; then
        if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            say "$python has no venv or pip: install them (on Debian and Ubuntu: apt install python3-venv), or install uv."
            exit 1
        fi
        "$python" -m venv --clear .uv
        .uv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: -r scripts/bootstrap.lock >&2
        cp scripts/bootstrap.lock .uv/bootstrap.lock
    fi
    echo .uv/bin/uv
}

python=$(find_python)
uv=$(find_uv)
# With PYTHON given, the environment is of that Python; otherwise one that works is kept.
if ! new_enough .venv/bin/python || [ -n "${PYTHON:-}" ]; then
    "$uv" venv --quiet --clear --no-python-downloads --python "$python" .venv
fi
"$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
