#!/bin/sh
# Apps on this machine: their releases, the units of their processes, their secrets. The platform sends this with every call,
# as root over SSH (`sudo -n sh -c SCRIPT app VERB …`), so that a machine needs nothing installed and always has the version
# that the platform knows. sh, tar, coreutils, systemd; nothing else, because a foreign image need not have more.
#
# /var/lib/hafen/apps/APP/releases/N      the files of a release, which its processes see as /app
# /var/lib/hafen/apps/APP/processes/ID    what starts a process
# /run/hafen-apps/APP/ID                  its secrets: memory only, root's only; gone with a reboot
# /run/hafen-build                        on a builder: what starts the commands of the build, its secrets; memory only
# /etc/systemd/system/app-APP.ID.service  its unit; the name must not begin with "hafen" or "ssh", which the watch over the
#                                         ways into machines looks at
set -eu
umask 077
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
root=/var/lib/hafen/apps
secrets=/run/hafen-apps
build=/run/hafen-build
units=/etc/systemd/system

die() {
    echo "$*" >&2
    exit 1
}

# What becomes part of a path.
name() {
    case $1 in '' | -* | *[!a-z0-9-]*) die "not a name: $1" ;; esac
}

unit() { echo "app-$1.$2.service"; }

# The files of a release, from a tar archive. All of it or nothing.
install_release() {
    name "$1"
    name "$2"
    to=$root/$1/releases/$2
    if [ -d "$to" ]; then
        cat >/dev/null
        return
    fi
    rm -rf "$to.new"
    mkdir -p "$to.new"
    tar -x -f - -C "$to.new" --no-same-owner -p
    # Read by the process' own user, through the mount that shows it only this.
    chmod 0755 "$to.new"
    sync -f "$to.new"
    mv "$to.new" "$to"
}

# What starts a process, its unit, its secrets, from a tar archive: the secrets reach no disk.
put_unit() {
    rm -rf "$secrets/$1/new.$2"
    mkdir -p "$secrets/$1/new.$2"
    tar -x -f - -C "$secrets/$1/new.$2" --no-same-owner
    from=$secrets/$1/new.$2
    chmod -R go= "$from"
    mkdir -p "$root/$1/processes/$2" "$from/credentials"
    chmod 0755 "$root/$1/processes/$2"
    for file in "$from"/*; do
        [ -f "$file" ] || continue
        case ${file##*/} in
        unit) install -m 0644 "$file" "$units/$(unit "$1" "$2")" ;;
        *) install -m 0755 "$file" "$root/$1/processes/$2/" ;;
        esac
    done
    rm -rf "${secrets:?}/$1/$2"
    mv "$from/credentials" "$secrets/$1/$2"
    rm -rf "$from"
}

start() {
    name "$1"
    name "$2"
    put_unit "$1" "$2"
    unit=$(unit "$1" "$2")
    # As `systemctl enable` does, which would reload once more.
    [ -d "$units/multi-user.target.wants" ] || install -d -m 0755 "$units/multi-user.target.wants"
    ln -sf "$units/$unit" "$units/multi-user.target.wants/$unit"
    systemctl daemon-reload
    systemctl reset-failed "$unit" 2>/dev/null || :
    systemctl restart --no-block "$unit"
}

# One app's processes by their ids.
stop() {
    app=$1
    shift
    name "$app"
    gone=
    for id; do
        name "$id"
        gone="$gone $(unit "$app" "$id")"
    done
    [ -n "$gone" ] || return 0
    # shellcheck disable=SC2086 # words
    systemctl stop $gone 2>/dev/null || :
    for id; do
        unit=$(unit "$app" "$id")
        rm -f "$units/$unit" "$units/multi-user.target.wants/$unit"
        rm -rf "${root:?}/$app/processes/$id" "${secrets:?}/$app/$id"
    done
    systemctl daemon-reload
    # shellcheck disable=SC2086 # words
    systemctl reset-failed $gone 2>/dev/null || :
}

# Ends processes that are not among these, and removes releases that are not. Ids and numbers, each as one word.
keep() {
    app=$1
    name "$app"
    gone=
    for file in "$units/app-$app."*.service; do
        [ -e "$file" ] || continue
        id=${file##*/app-"$app".}
        id=${id%.service}
        # A migration under way is looked after by its own verb.
        case $id in migrate-*) [ -z "$3" ] || continue ;; esac
        case " $2 " in *" $id "*) ;; *) gone="$gone $id" ;; esac
    done
    # shellcheck disable=SC2086 # words
    stop "$app" $gone
    for folder in "$root/$app/releases/"*; do
        [ -d "$folder" ] || continue
        case " $3 " in *" ${folder##*/} "*) ;; *) rm -rf "$folder" ;; esac
    done
}

# Nothing of an app stays.
leave() {
    name "$1"
    systemctl stop "exec-$1.*.service" 2>/dev/null || :
    keep "$1" '' ''
    rm -rf "${root:?}/$1" "${secrets:?}/$1"
    # Where processes saw what was theirs.
    rmdir "$root" "$secrets" /app /run/app 2>/dev/null || :
}

# How the processes of an app are, and which releases lie here.
look() {
    name "$1"
    for folder in "$root/$1/releases/"*; do
        case $folder in *.new) continue ;; esac
        [ -d "$folder" ] && echo "release ${folder##*/}"
    done
    echo
    set -- "$units/app-$1."*.service
    [ -e "$1" ] || return 0
    for file; do
        echo "${file##*/}"
    done | xargs systemctl show -p Id,ActiveState,SubState,NRestarts,Result,ExecMainStatus,ExecMainCode
}

# The migration of a release: a unit that runs once, whoever asks how often. Says `running`, `done` or `failed`, and then what it said.
migrate() {
    name "$1"
    name "$2"
    unit=$(unit "$1" "migrate-$2")
    marks=$root/$1/migrations
    mkdir -p "$marks"
    if [ -e "$marks/$2.done" ]; then
        cat >/dev/null
        echo done
        return
    fi
    if [ ! -e "$marks/$2.begun" ]; then
        put_unit "$1" "migrate-$2"
        systemctl daemon-reload
        touch "$marks/$2.begun"
        sync -f "$marks"
        # Ends waiting, not the migration.
        timeout 20 systemctl start "$unit" 2>/dev/null || :
    else
        cat >/dev/null
    fi
    tries=0
    # One that cannot be asked how it is runs: what it does to a database is not cut off for that.
    while state=$(systemctl show -P ActiveState "$unit") || state=
        [ -n "$state" ] || state=activating
        [ "$state" = activating ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 40 ] || break
        sleep 0.25
    done
    case $state in
    # Also one that ends, or is read anew, just now.
    activating | deactivating | reloading | refreshing) echo running ;;
    active)
        touch "$marks/$2.done"
        sync -f "$marks"
        stop "$1" "migrate-$2"
        echo done
        ;;
    *)
        # Whatever it did until then stays done: it is not begun again by itself.
        echo failed
        lines "$1" 40 "migrate-$2"
        stop "$1" "migrate-$2"
        ;;
    esac
}

lines() {
    journalctl --sync 2>/dev/null || :
    journalctl -q --no-hostname --no-pager -o cat -n "$2" -u "$(unit "$1" "$3")"
}

# The log of all processes of an app, or one: lines, and then those to come.
logs() {
    name "$1"
    follow=
    [ "$3" != follow ] || follow=-f
    journalctl --sync 2>/dev/null || :
    exec journalctl -q --no-hostname --no-pager -o short-iso $follow -n "$2" -u "$(unit "$1" "$4")"
}

# A command where a process is: its files, its walls, its secrets. It ends when its caller leaves, who keeps the input of this
# script open for so long and writes nothing to it, and after so many seconds at the latest, whatever became of them. Its name
# begins otherwise than those of processes, so that it is in no log of the app.
exec_in() {
    name "$1"
    name "$2"
    unit=$units/$(unit "$1" "$2")
    [ -e "$unit" ] || die "there is no process $2 of $1 on this machine"
    called=exec-$1.$2.$$.service
    title="A command in $2 of the app $1"
    limit=$3
    command=$4
    set --
    while IFS= read -r line; do
        case $line in
        Exec*=* | Restart*=* | Type=* | SyslogIdentifier=* | StartLimit*=* | WantedBy=* | After=* | Description=* | \#*) ;;
        *=*) set -- "$@" -p "$line" ;;
        esac
    done <"$unit"
    exec 3<&0 </dev/null
    # It only reads, by what the shell itself has, so that nothing of it is left when it is ended.
    (
        while read -r _; do :; done
        # It may not have begun yet, where machines are slow.
        tries=0
        until systemctl stop "$called" || [ "$tries" -ge 240 ]; do
            tries=$((tries + 1))
            sleep 0.25
        done
    ) <&3 3<&- >/dev/null 2>&1 &
    watcher=$!
    exec 3<&-
    ended=0
    systemd-run --quiet --pipe --wait --collect --unit="$called" --description="$title" -p RuntimeMaxSec="$limit" "$@" \
        /bin/sh /run/app/start "$command" || ended=$?
    kill "$watcher" 2>/dev/null || :
    exit "$ended"
}

# What starts the commands of a build, and its secrets, from a tar archive: for the user alone who builds, and until it ends.
build_begin() {
    rm -rf "$build"
    mkdir "$build"
    tar -x -f - -C "$build" --no-same-owner
    chown -R "${SUDO_UID:-0}:${SUDO_GID:-0}" "$build"
}

build_end() { rm -rf "$build"; }

verb=$1
shift
case $verb in
install) install_release "$@" ;;
start | stop | keep | leave | look | migrate | logs | lines) "$verb" "$@" ;;
exec) exec_in "$@" ;;
build-begin) build_begin ;;
build-end) build_end ;;
*) die "no such verb: $verb" ;;
esac
