# Sourced by daemon/run and tests/run: creates the virtual environment .venv of this checkout and keeps it up to
# date. Prints what it does; returns quickly if nothing changed.
#
# usage: . daemon/environment.sh; prepare_environment CHECKOUT [EXTRA]
#
# INCV3D_INSTALL_ENGINE=litert leaves TensorFlow out, and INCV3D_INSTALL_ENGINE=tensorflow brings it back.

fail() {
    echo "incv3d: $*" >&2
    exit 1
}

# In a subshell (parentheses): Python must not import a venv.py of the current folder, but programs that are started
# afterwards keep their environment.
prepare_environment() (
    export PYTHONSAFEPATH=1
    checkout=$1 extra=${2:-}
    system_python=${PYTHON:-python3}
    command -v "$system_python" >/dev/null || fail "$system_python is not installed; run: sudo apt-get install python3 python3-venv"
    mkdir -p "$checkout/.incv3d" 2>/dev/null || fail "$checkout cannot be written; is it yours?"

    # By default, an environment that was made without TensorFlow stays so.
    set -- "$checkout"/.venv/incv3d-stamp*
    if [ -z "${INCV3D_INSTALL_ENGINE:-}" ] && [ -e "$1" ] && ! has_tensorflow; then INCV3D_INSTALL_ENGINE=litert; fi
    export INCV3D_INSTALL_ENGINE="${INCV3D_INSTALL_ENGINE:-tensorflow}"
    case $INCV3D_INSTALL_ENGINE in
    tensorflow | litert) ;;
    *) fail "INCV3D_INSTALL_ENGINE: must be tensorflow or litert, not $INCV3D_INSTALL_ENGINE" ;;
    esac

    # Identifies what the environment was made from; if it is the same, there is nothing to do.
    made_by=$checkout/.venv/bin/python
    if [ -z "${PYTHON:-}" ] && [ -x "$made_by" ]; then runs_on=$made_by; else runs_on=$system_python; fi
    wanted=$(cd "$checkout" && { "$runs_on" --version; cat setup.py pyproject.toml systemd/constraints.txt systemd/quantizer.txt daemon/incv3d/__init__.py; pwd; [ "$INCV3D_INSTALL_ENGINE" = tensorflow ] || echo "$INCV3D_INSTALL_ENGINE"; } | sha256sum)
    stamp=$checkout/.venv/incv3d-stamp${extra:+-$extra}
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

    # If two run at once, the second waits for the first and then finds nothing to do.
    exec 9>"$checkout/.incv3d/environment.lock"
    flock 9
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        "$system_python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
            fail "$("$system_python" --version) is not supported: incv3d needs 3.11 to 3.13 (select another one: PYTHON=python3.12 $0)"
        install_venv_module
        make_venv
        install_packages
        echo "$wanted" >"$stamp"
    fi
    exec 9>&-
)

# Debian has the venv module in a separate package.
install_venv_module() {
    "$system_python" -c 'import venv, ensurepip' 2>/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "incv3d: installing Debian's python3-venv"
        apt-get update -q && apt-get install -y -q python3-venv || fail "apt-get could not install python3-venv"
    else
        fail "Python's venv module is missing; run: sudo apt-get install python3-venv"
    fi
}

has_tensorflow() {
    for each in "$checkout"/.venv/lib/python3*/site-packages/tensorflow; do
        [ ! -d "$each" ] || return 0
    done
    return 1
}

make_venv() {
    version='import sys; print(sys.version_info[:2])'
    if ! "$made_by" -m pip --version >/dev/null 2>&1 || { [ "$INCV3D_INSTALL_ENGINE" = litert ] && has_tensorflow; } ||
        [ "$("$made_by" -c "$version")" != "$("$system_python" -c "$version")" ]; then
        echo "incv3d: creating $checkout/.venv"
        "$system_python" -m venv --clear "$checkout/.venv" || fail "the virtual environment could not be created"
    fi
}

install_packages() {
    size="TensorFlow is large: "
    [ "$INCV3D_INSTALL_ENGINE" = tensorflow ] || size="without TensorFlow; "
    echo "incv3d: installing packages into .venv (${size}the first time takes a while)"
    # TensorFlow's wheel is too large for a /tmp that a small machine keeps in memory.
    export TMPDIR="$checkout/.incv3d/tmp"
    mkdir -p "$TMPDIR"
    set -- --disable-pip-version-check --prefer-binary --constraint "$checkout/systemd/constraints.txt"
    {
        # The quantizer lacks SciPy, which it requires but does not need here: nothing to warn of.
        "$checkout/.venv/bin/python" -m pip install "$@" --no-warn-conflicts --editable "$checkout${extra:+[$extra]}" &&
            "$checkout/.venv/bin/python" -m pip install "$@" --no-deps --requirement "$checkout/systemd/quantizer.txt"
    } || fail "pip could not install the packages (see its message above)"
    rm -rf "$TMPDIR"
    unset TMPDIR
}
