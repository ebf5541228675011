# Sourced by daemon/run and tests/run: makes the virtual environment .venv of this checkout, and keeps it
# up to date. Says what it does; does nothing, quickly, when nothing changed.
#
# usage: . daemon/environment.sh; prepare_environment CHECKOUT [EXTRA]

fail() {
    echo "incv3d: $*" >&2
    exit 1
}

# In a shell of its own, as the parentheses say: Python must not take a venv.py of the current folder for its own
# module, but what is started afterwards keeps its settings.
prepare_environment() (
    export PYTHONSAFEPATH=1
    checkout=$1 extra=${2:-}
    system_python=${PYTHON:-python3}
    command -v "$system_python" >/dev/null || fail "there is no $system_python; install it: sudo apt-get install python3 python3-venv"
    mkdir -p "$checkout/.incv3d" 2>/dev/null || fail "$checkout cannot be written; is it yours?"

    # What the environment was made from: the same again means there is nothing to do.
    made_by=$checkout/.venv/bin/python
    if [ -z "${PYTHON:-}" ] && [ -x "$made_by" ]; then runs_on=$made_by; else runs_on=$system_python; fi
    wanted=$(cd "$checkout" && { "$runs_on" --version; cat setup.py pyproject.toml systemd/constraints.txt daemon/incv3d/__init__.py; pwd; } | sha256sum)
    stamp=$checkout/.venv/incv3d-stamp${extra:+-$extra}
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

    # Two at once: the second waits for the first, and then finds nothing to do.
    exec 9>"$checkout/.incv3d/environment.lock"
    flock 9
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        "$system_python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
            fail "$("$system_python" --version) will not do: incv3d needs 3.11 to 3.13 (name another one: PYTHON=python3.12 $0)"
        install_venv_module
        make_venv
        install_packages
        echo "$wanted" >"$stamp"
    fi
    exec 9>&-
)

# Debian keeps the parts of venv in a package of their own.
install_venv_module() {
    "$system_python" -c 'import venv, ensurepip' 2>/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "incv3d: installing Debian's python3-venv"
        apt-get update -q && apt-get install -y -q python3-venv || fail "apt-get could not install python3-venv"
    else
        fail "Python's venv module is missing; type: sudo apt-get install python3-venv"
    fi
}

make_venv() {
    version='import sys; print(sys.version_info[:2])'
    if ! "$made_by" -m pip --version >/dev/null 2>&1 ||
        [ "$("$made_by" -c "$version")" != "$("$system_python" -c "$version")" ]; then
        echo "incv3d: making $checkout/.venv"
        "$system_python" -m venv --clear "$checkout/.venv" || fail "the environment could not be made"
    fi
}

install_packages() {
    echo "incv3d: installing packages into .venv (TensorFlow is large: the first time takes a while)"
    # A wheel of TensorFlow is too big for the memory-backed /tmp of a small machine.
    export TMPDIR="$checkout/.incv3d/tmp"
    mkdir -p "$TMPDIR"
    "$checkout/.venv/bin/python" -m pip install --disable-pip-version-check --prefer-binary \
        --constraint "$checkout/systemd/constraints.txt" \
        --editable "$checkout${extra:+[$extra]}" || fail "pip could not install the packages (its message is above)"
    rm -rf "$TMPDIR"
    unset TMPDIR
}
