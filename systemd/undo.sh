# Sourced by steps.sh: only one installation runs at a time, and none is left incomplete.
#
# From `remember` to `keep`, $undo holds the previous state. However the installer ends, settle restores it: run by
# the installer itself, by a unit that waits for the installer's lock, or at the next boot.

undo=$prefix/undo
# Unique: the unit of the previous run may still be active.
guard=incv3d-install-guard-$$

one_at_a_time() {
    install -d -m 755 "$prefix"
    exec 9>"$prefix/lock"
    # Wait: an earlier installation may still be rolling back.
    flock -w 10 9 && [ "$prefix/lock" -ef /proc/self/fd/9 ] ||
        fail "another installation is running (it holds $prefix/lock); try again when it has finished"
    if [ -d "$undo" ]; then
        say "an installation was interrupted: rolling it back first"
        sh "$undo/settle" 9>&- || say "the previous version does not start; see: journalctl -u incv3d"
    fi
    drop_models
}

# Save the current state, until `keep`.
remember() {
    [ -z "$dry" ] && [ -n "$previous" ] && [ -x "$previous/bin/incv3d" ] || return 0
    rm -rf "$undo.new"
    mkdir -m 755 "$undo.new"
    echo "$previous" >"$undo.new/release"
    [ ! -e "$configuration" ] || cp -p "$configuration" "$undo.new/configuration"
    [ ! -e "$unit" ] || cp -p "$unit" "$undo.new/incv3d.service"
    cp "$here/settle" "$here/exchange" "$undo.new/"
    install -m 644 "$here/incv3d-settle.service" "$settle_unit"
    systemctl enable --quiet incv3d-settle
    ! systemctl is-enabled --quiet incv3d 2>/dev/null || touch "$undo.new/enabled"
    if is_running; then
        systemctl daemon-reload
        case $(systemctl show incv3d -p ActiveState --value) in
        inactive | failed) ;;
        *) systemctl show incv3d -p MainPID --value >"$undo.new/pid" ;;
        esac
    fi
    sync -f "$prefix"
    trap take_back EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mv "$undo.new" "$undo"
    ! is_running || systemd-run --quiet --collect --unit="$guard" flock "$prefix/lock" sh "$undo/settle" 9>&-
}

# Runs as the service's user, who may have no access to this folder. $1 is `in`, `back` or `drop`, $2 the store.
exchange_models() {
    as_user sh -s "$@" <"$here/exchange"
}

# Let settle restore the models of the store $1, too.
keep_models() {
    [ -d "$undo" ] || return 0
    echo "$1" >"$undo/store.new"
    mv "$undo/store.new" "$undo/store"
    sync -f "$undo"
}

# Remove the models that a finished installation kept for a rollback.
drop_models() {
    [ ! -s "$undo.done/store" ] || exchange_models drop "$(cat "$undo.done/store")" ||
        say "the replaced model could not be removed"
    rm -rf "$undo.done"
}

# The new version runs: make it permanent.
keep() {
    [ -d "$undo" ] || return 0
    sync -f "$prefix"
    mv "$undo" "$undo.done"
    sync -f "$prefix"
    drop_models
    ! is_running || systemctl stop "$guard" 2>/dev/null || true
}

# Called however the installer ends.
take_back() {
    trap '' HUP INT TERM
    [ ! -d "$undo" ] || sh "$undo/settle" 9>&- || say "${previous##*/} does not start either; see: journalctl -u incv3d"
    ! is_running || systemctl stop "$guard" 2>/dev/null || true
}

roll_back() {
    if [ ! -d "$undo" ]; then
        fail "installed, but not ready; run: $current/bin/incv3d doctor, and see: journalctl -u incv3d"
    fi
    say "release ${release##*/} is not ready: rolling it back"
    take_back
    [ "$release" = "$(readlink "$current")" ] || rm -rf "$release"
    fail "${previous##*/} keeps running; for the reason, see the messages above and: journalctl -u incv3d"
}
