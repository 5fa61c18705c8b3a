# Sourced by the scripts beside this file: the project's own .venv, filled once and again when setup.cfg changes.
# Everything is installed in place (editable), so that pulling needs no reinstall and demo and test run in any order.

make_venv() {
    [ -x .venv/bin/pip ] && return
    "${PYTHON:=python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "Python 3.11 or later is needed: PYTHON=/path/to/python3 $0"
    echo "making .venv"
    "$PYTHON" -m venv .venv || stop "'$PYTHON -m venv' failed: on Debian and Ubuntu, apt-get install python3-venv"
    .venv/bin/python -m pip install --quiet --upgrade pip
}

# What an installation depends on: this folder, this Python and the requirements.
state() { { pwd; cat setup.cfg pyproject.toml .venv/pyvenv.cfg; } | cksum; }
installed() { [ "$(cat ".venv/$1.stamp" 2>/dev/null)" = "$(state)" ]; }
# Setuptools warns at length of every editable installation.
install() { PYTHONWARNINGS=ignore .venv/bin/python -m pip install "$@"; }
remember() { state >".venv/$1.stamp"; }

need_dev() {
    make_venv
    installed dev && return
    echo "installing what development needs, torch included (once, some minutes)"
    install -e '.[dev]'
    remember dev
}

need_train() {
    if installed dev || installed train; then return; fi
    echo "installing what training needs, torch included (once, some minutes)"
    install --quiet -e '.[train]'
    remember train
}

stop() { echo "$0: $1" >&2; exit 1; }
