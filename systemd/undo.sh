# Sourced by steps.sh: only one installation runs at a time, and none is left half done.
#
# From `remember` to `keep`, what was in force before is in $undo. Whatever ends the installer, settle takes it back:
# run by the installer itself, by a unit that waits for the installer's lock, or by the next boot.

undo=$prefix/undo
# One of its own: that of the run before may still be going.
guard=incv3d-install-guard-$$

one_at_a_time() {
    install -d -m 755 "$prefix"
    exec 9>"$prefix/lock"
    # Not at once: the end of an earlier one may still be taken back.
    flock -w 10 9 && [ "$prefix/lock" -ef /proc/self/fd/9 ] ||
        fail "another installation is at work (it holds $prefix/lock); try again when it is done"
    [ ! -d "$undo" ] || { say "an installation was cut off: taking it back first" && sh "$undo/settle" 9>&-; }
    drop_models
}

# Put what is in force by, until `keep`.
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

# As the service's user, who may not be able to read this folder: $1 is `in`, `back` or `drop`, $2 the store.
exchange_models() {
    as_user sh -s "$@" <"$here/exchange"
}

# The models of the store $1 are part of what settle takes back.
keep_models() {
    [ -d "$undo" ] || return 0
    echo "$1" >"$undo/store.new"
    mv "$undo/store.new" "$undo/store"
    sync -f "$undo"
}

# Remove the models that an installation which is over had kept for its taking back.
drop_models() {
    [ ! -s "$undo.done/store" ] || exchange_models drop "$(cat "$undo.done/store")" ||
        say "the model that was replaced could not be removed"
    rm -rf "$undo.done"
}

# The new version runs: from here on it is the one that stays.
keep() {
    [ -d "$undo" ] || return 0
    sync -f "$prefix"
    mv "$undo" "$undo.done"
    sync -f "$prefix"
    drop_models
    ! is_running || systemctl stop "$guard" 2>/dev/null || true
}

# However the installer ends.
take_back() {
    trap '' HUP INT TERM
    [ ! -d "$undo" ] || sh "$undo/settle" 9>&- || say "and ${previous##*/} does not start either: journalctl -u incv3d"
    ! is_running || systemctl stop "$guard" 2>/dev/null || true
}

roll_back() {
    if [ ! -d "$undo" ]; then
        fail "it is installed, but not ready: $current/bin/incv3d doctor and journalctl -u incv3d say more"
    fi
    say "release ${release##*/} is not ready: taking it back"
    take_back
    [ "$release" = "$(readlink "$current")" ] || rm -rf "$release"
    fail "${previous##*/} runs on; what is wrong with the new one is said above, or by journalctl -u incv3d"
}
