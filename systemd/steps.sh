# Sourced by install, upgrade and uninstall: the steps. Each prints what it does, and does nothing if nothing is
# to be done.
#
# Shared variables: here (this folder); dry, camera, engine, start, model, wheels (the options); releases, release (the new
# one) and previous (the one that ran before, or empty); changed (whether something new is to be started).

export PYTHONSAFEPATH=1 # root's Python must not run a venv.py of the current folder

prefix=/opt/incv3d
releases=$prefix/releases
current=$prefix/current
command_link=/usr/local/bin/incv3d
configuration=/etc/incv3d/incv3d.yaml
state=/var/lib/incv3d
logs=/var/log/incv3d
unit=/etc/systemd/system/incv3d.service
sysusers=/etc/sysusers.d/incv3d.conf
settle_unit=/etc/systemd/system/incv3d-settle.service
user=incv3d

# These scripts are in a checkout, or in an installed package, where `incv3d service` runs them.
is_checkout() {
    [ -f "$here/../setup.py" ]
}

code=$here/../..
! is_checkout || code=$here/../daemon/incv3d
. "$here/undo.sh"

say() {
    echo "incv3d: $*"
}

fail() {
    echo "incv3d: $*" >&2
    exit 1
}

# End because the command line is wrong.
misuse() {
    echo "incv3d: $*; to list the options: ${INCV3D_COMMAND:-$0} --help" >&2
    exit 2
}

# Run a command, or with --dry-run print it.
run() {
    if [ -n "$dry" ]; then
        echo "    $*"
    else
        "$@"
    fi
}

# Run a command as the service would run it, without the installer's lock, and only while the installer lives.
as_user() {
    run setpriv --reuid "$user" --regid "$user" --init-groups --pdeathsig KILL \
        env -C / HOME="$state" STATE_DIRECTORY="$state" LOGS_DIRECTORY="$logs" \
        CONFIGURATION_DIRECTORY="${configuration%/*}" "$@" 9>&-
}

is_running() {
    [ -d /run/systemd/system ]
}

check_machine() {
    [ -n "$dry" ] || [ "$(id -u)" = 0 ] || fail "root is required; run: sudo ${INCV3D_COMMAND:-$0}"
    command -v apt-get >/dev/null || fail "this is not Debian or Raspberry Pi OS (no apt-get); to install by hand, see $here/README.md"
    case $(uname -m) in
    x86_64 | aarch64) ;;
    armv7l | armv6l) fail "TensorFlow and LiteRT do not support 32-bit systems; install Raspberry Pi OS (64-bit), or use this machine as a camera (${here%/*}/config/cameras.md)" ;;
    *) fail "TensorFlow and LiteRT do not support $(uname -m)" ;;
    esac
    command -v systemctl >/dev/null || fail "systemd is not installed; to run without it, see $here/README.md"
}

# Whether the argument is a path rather than the name of a model.
is_file() {
    case $1 in
    /*) true ;;
    *) false ;;
    esac
}

install_packages() {
    wanted="python3 python3-venv ca-certificates"
    if [ -n "$camera" ] && apt-cache show python3-picamera2 >/dev/null 2>&1; then
        wanted="$wanted python3-picamera2"
    fi
    missing=
    for package in $wanted; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok' || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "system packages: already installed ($wanted)"
    else
        say "installing the system packages$missing"
        run env DEBIAN_FRONTEND=noninteractive apt-get update -q 9>&-
        # shellcheck disable=SC2086 # one word per package
        run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing 9>&- ||
            fail "apt-get could not install$missing (see its message above)"
    fi
    [ -n "$dry" ] || python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
        fail "$(python3 --version) is not supported: incv3d needs 3.11 to 3.13"
}

make_user() {
    if getent passwd "$user" >/dev/null && cmp -s "$here/incv3d.sysusers" "$sysusers"; then
        say "user $user: already exists"
    else
        say "creating the user $user, with access to cameras only ($sysusers)"
        run install -D -m 644 "$here/incv3d.sysusers" "$sysusers"
        run systemd-sysusers "$sysusers"
    fi
    run install -d -o "$user" -g "$user" -m 755 "$state" "$logs"
}

# Without --engine, keep what is installed; a first installation gets TensorFlow.
choose_engine() {
    [ -z "$engine" ] || return 0
    engine=tensorflow
    [ ! -d "$current" ] || has_module tensorflow || engine=litert
}

# Whether the active release contains the Python module $1.
has_module() {
    for each in "$current"/lib/python3*/site-packages/"$1"; do
        [ ! -d "$each" ] || return 0
    done
    return 1
}

# The optional parts of incv3d to install. ONNX Runtime, Apprise and gpiozero are only kept if somebody has added
# them: without them, a daemon that needs them would not start after an upgrade.
choose_extras() {
    extras=http,mqtt
    [ -z "$camera" ] || extras=$extras,camera,video
    # A package that was installed without TensorFlow requires it only in this extra.
    [ "$engine" != tensorflow ] || extras=$extras,tensorflow
    ! has_module onnxruntime || extras=$extras,onnx
    ! has_module apprise || extras=$extras,notify
    ! has_module gpiozero || extras=$extras,gpio
}

# Identifies an installation by its sources, the pinned versions and the Python.
release_id() {
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$code/__init__.py")
    [ -n "$version" ] || fail "$code/__init__.py contains no version; is this folder complete?"
    digest=$(
        cd "$code" && {
            find . -type f ! -name '*.pyc' | LC_ALL=C sort | xargs sha256sum
            cat "$here/../setup.py" 2>/dev/null
            cat "$here/constraints.txt" "$here/quantizer.txt"
            python3 --version
            ! has_picamera2 || echo picamera2
            [ "$engine" = tensorflow ] || echo "$engine"
            case $extras in *onnx*) echo onnx ;; esac
            case $extras in *notify*) echo notify ;; esac
            case $extras in *gpio*) echo gpio ;; esac
        } | sha256sum | cut -c1-8
    )
    echo "$version-$digest"
}

has_picamera2() {
    dpkg-query -W -f '${Status}' python3-picamera2 2>/dev/null | grep -q '^install ok'
}

make_release() {
    previous=$(readlink "$current" 2>/dev/null || true)
    release=$releases/$(release_id)
    if [ -e "$release/complete" ]; then
        say "release ${release##*/}: already installed"
        return
    fi
    # Remains of an interrupted installation.
    for each in "$releases"/*; do
        [ -e "$each/complete" ] || [ ! -e "$each" ] || run rm -rf "$each"
    done
    if [ "$engine" = tensorflow ]; then
        check_space 3500
        say "creating $release: a virtual environment with TensorFlow and other packages (takes a while)"
    else
        check_space 900
        say "creating $release: a virtual environment with LiteRT, without TensorFlow (takes a while)"
    fi
    run install -d -m 755 "$releases"
    site=
    if has_picamera2; then
        # libcamera's Python module is only available from apt.
        site=--system-site-packages
    fi
    run python3 -m venv $site "$release" || fail "the virtual environment could not be created"
    run mkdir -p "$releases/tmp"
    held=$releases/tmp/constraints.txt
    run cp "$here/constraints.txt" "$held"
    run rm -rf "$releases/tmp/source"
    run mkdir "$releases/tmp/source"
    source=$releases/tmp/source
    if is_checkout; then
        # Build the wheel from a copy: a checkout may be read-only, or belong to another user.
        run cp -r "$here/../daemon" "$here/../systemd" "$here/../config" "$here/../setup.py" "$here/../pyproject.toml" \
            "$here/../README.md" "$source"
    else
        run "$INCV3D_PYTHON" -P -m incv3d.tools.wheel "$source" "$engine" || fail "the installed package could not be packed"
        [ -n "$dry" ] || source=$(echo "$source"/*.whl)
    fi
    if [ -n "$site" ] && python3 -c 'import numpy, sys; sys.exit(numpy.__version__ >= "2")' 2>/dev/null; then
        say "apt's picamera2 is built against NumPy 1: pinning NumPy to 1.26"
        run sed -i 's/^numpy==.*/numpy==1.26.4/' "$held"
    fi
    set -- --disable-pip-version-check --no-cache-dir --prefer-binary --quiet --use-pep517 --constraint "$held"
    [ -z "$wheels" ] || set -- "$@" --no-index --find-links "$wheels"
    # TensorFlow's wheel is too large for a /tmp that a small machine keeps in memory.
    {
        run env TMPDIR="$releases/tmp" INCV3D_INSTALL_ENGINE="$engine" "$release/bin/python" -m pip install "$@" \
            "$source[$extras]" &&
            run env TMPDIR="$releases/tmp" "$release/bin/python" -m pip install "$@" --no-deps \
                --requirement "$here/quantizer.txt"
    } ||
        { run rm -rf "$release" "$releases/tmp"; fail "pip could not install the packages (see its message above)"; }
    # Python 3.11 puts it into every virtual environment; only TensorFlow needs it.
    [ "$engine" = tensorflow ] || run "$release/bin/python" -m pip uninstall --yes -qq setuptools
    # Nothing that the service runs is compiled here: the tests of packages, and pip.
    run find "$release/lib" -type d -name __pycache__ \( -path '*/tests/*' -o -path '*/pip/*' \) -prune -exec rm -rf {} +
    run rm -rf "$releases/tmp"
    # Mark it complete only once it is on the disk.
    run sync -f "$releases"
    run touch "$release/complete"
}

# $1: megabytes that an installation takes while it is made.
check_space() {
    folder=$prefix
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    free_mb=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free_mb" -ge "$1" ] || {
        smaller=
        [ "$engine" = litert ] || smaller="; without TensorFlow (--engine litert) it needs less"
        fail "$folder has $free_mb MB free; an installation needs $1 MB$smaller"
    }
}

write_configuration() {
    if [ -e "$configuration" ]; then
        say "configuration: keeping the existing $configuration"
    else
        say "writing the configuration $configuration"
        run install -d -m 755 "${configuration%/*}"
        run install -m 644 "$here/../config/incv3d.yaml" "$configuration"
        # Commands in a shell must find the same models and the same log as the service.
        set_keys "$configuration" "model.store=$state" "latency.log=$logs/latency.log"
    fi
}

# Set keys in the configuration file $1, which keeps its comments.
set_keys() {
    run "$release/bin/python" -m incv3d.config.edit "$@" ||
        fail "$configuration cannot be changed (see the message above); the running version is unchanged"
}

# With --model FILE: afterwards `model` is the name of the imported model.
import_model() {
    is_file "$model" || return 0
    say "importing $model"
    [ -z "$dry" ] || return 0
    store=$(as_user "$release/bin/incv3d" model list | sed -n 's/^store: //p')
    [ -n "$store" ] || fail "the models cannot be listed (see the message above); the running version is unchanged"
    as_user mkdir -p "$store/models" || fail "$store cannot be written; the running version is unchanged"
    # Remains of an interrupted first installation.
    exchange_models back "$store"
    keep_models "$store"
    # The service's user may have no access to its folder.
    readable=$releases/import
    rm -rf "$readable"
    install -d -g "$user" -m 750 "$readable"
    cp -rL "$model" "$readable/"
    for labels in output_labels.txt labels.txt; do
        [ ! -f "${model%/*}/$labels" ] || cp "${model%/*}/$labels" "$readable/"
    done
    # A separate store, on the same disk.
    printf "model:\n  store: '%s'\n" "$(printf %s "$store" | sed "s/'/''/g")/models/.installing" >"$readable/.store.yaml"
    chgrp -R "$user" "$readable"
    chmod -R u=rwX,g=rX,o= "$readable"
    imported=$(as_user "$release/bin/incv3d" model import "$readable/${model##*/}" --config "$readable/.store.yaml") ||
        fail "$model cannot be imported; the running version is unchanged"
    rm -rf "$readable"
    echo "$imported"
    model=$(echo "$imported" | sed -n 's/^imported \([^:]*\):.*/\1/p')
    changed=yes
    exchange_models in "$store"
    # There is no previous version to roll back to.
    [ -d "$undo" ] || exchange_models drop "$store"
}

choose_model() {
    [ -n "$model" ] || return 0
    if [ -n "$dry" ]; then
        is_file "$model" || say "setting the configured model to $model"
        return 0
    fi
    written=$prefix/configuration.written
    [ ! -d "$undo" ] || written=$undo/configuration.written
    cp -p "$configuration" "$written"
    set_keys "$written" "model.name=$model"
    if ! cmp -s "$written" "$configuration"; then
        say "setting the configured model to $model"
        changed=yes
        target=$(readlink -f "$configuration")
        cp -p "$written" "$target.new"
        sync "$target.new"
        mv "$target.new" "$target"
    fi
    rm -f "$prefix/configuration.written"
}

# As the service's user, before anything of the running version changes.
prove_configuration() {
    as_user "$release/bin/incv3d" check-config "$configuration" ||
        fail "the configuration is not valid for this version; the running version is unchanged"
}

switch_release() {
    if [ "$previous" = "$release" ]; then
        say "release ${release##*/} is already active"
    else
        say "$current is now ${release##*/}"
        changed=yes
        # Renamed into place, so that the link always exists.
        run ln -sfn "$release" "$current.new"
        run mv -T "$current.new" "$current"
    fi
    run ln -sfn "$current/bin/incv3d" "$command_link"
}

install_unit() {
    if cmp -s "$here/incv3d.service" "$unit"; then
        say "unit: already installed"
    else
        say "installing the unit $unit"
        changed=yes
        run install -m 644 "$here/incv3d.service" "$unit.new"
        run mv "$unit.new" "$unit"
        ! is_running || run systemctl daemon-reload
    fi
    run systemctl enable --quiet incv3d
}

is_active() {
    is_running && systemctl --quiet is-active incv3d
}

ready_model() {
    [ -n "$changed" ] || ! is_active || return 0
    say "preparing the model: downloading, preparing, checking its golden image"
    # On a small machine this needs the daemon's memory. systemctl keeps the installer's lock: it must not stop
    # what settle has started in the meantime.
    ! is_active || [ -z "$start" ] || run systemctl stop incv3d
    as_user "$current/bin/incv3d" model prepare
}

start_service() {
    is_running || { say "systemd is not running: the service starts at the next boot"; return 0; }
    [ -n "$start" ] || return 0
    if [ -z "$changed" ] && is_active; then
        say "the service is already running"
        return 0
    fi
    say "starting the service; it is ready once its Session is warm"
    run systemctl reset-failed incv3d 2>/dev/null || true
    run systemctl restart incv3d 9>&- || return 1
    [ -n "$dry" ] || verify_model
}

# Ask the daemon whether it runs the requested model.
verify_model() {
    [ -n "$model" ] && [ "$model" != auto ] || return 0
    runs=$(running_model)
    [ "$runs" != "$model" ] || return 0
    say "the service runs the model ${runs:-(unknown)} instead of $model"
    return 1
}

running_model() {
    address=$(as_user "$current/bin/incv3d" check-config --show | sed -n '/^intake:/,/^[^ ]/s/^  bind: //p')
    address=$(echo "$address" | sed 's#//\(\*\|0\.0\.0\.0\):#//127.0.0.1:#')
    as_user "$current/bin/incv3d" info --connect "$address" --timeout 5 2>/dev/null | sed -n 's/^model: //p' | grep . ||
        # It requires keys; read the status that it reports to systemd.
        systemctl show incv3d -p StatusText --value | cut -d' ' -f1
}

drop_old_releases() {
    # Without a restart the previous release keeps running, and may still read its files.
    kept=
    [ -n "$start" ] || ! is_active || kept=$previous
    for each in "$releases"/*; do
        case $each in
        "$release" | "$kept" | "$releases/*") ;;
        *) say "removing ${each##*/}" && run rm -rf "$each" ;;
        esac
    done
}

finish() {
    [ -z "$dry" ] || { say "nothing was done (--dry-run)"; return; }
    "$current/bin/incv3d" doctor --config "$configuration" || true
    say "installed: systemctl status incv3d; tail -F $logs/latency.log"
}
