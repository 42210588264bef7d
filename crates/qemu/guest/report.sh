#!/bin/sh
# What can be told of the ways into this machine: sshd's effective configuration, and the files that decide who gets in and
# who becomes root. Run as root for `hafen-check`, whose certificates can run nothing else. It only reads, and says nothing
# of what a file holds but its hash; a host certificate, which is public and another one at each start, is told whole.
#
# Records end with a zero byte, as names of files may hold anything else. The last one is "end": without it the report was
# cut short. sh, find and coreutils, because a foreign image need not have more.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
[ "$#" -eq 0 ] || exit 2

# Of a class, and what find takes: what there is, with its mode and owner.
describe() {
    class=$1
    shift
    find "$@" -printf "file $class\t%y\t%m\t%U\t%G\t%l\t%p\0"
}

contents() {
    shift
    find "$@" -type f -print0
}

# All that is told of by name, by describe or by contents.
each() {
    tell=$1
    $tell ssh /etc/ssh
    $tell sudo /etc/sudoers /etc/sudoers.d
    $tell pam /etc/pam.d/sshd /etc/pam.d/sudo /etc/pam.d/su /etc/pam.d/common-auth /etc/ld.so.preload
    $tell program /usr/sbin/sshd /usr/lib/openssh /usr/libexec/openssh /usr/lib/hafen
    $tell unit /etc/systemd/system /run/systemd/system /run/systemd/generator /usr/local/lib/systemd/system \
        /usr/lib/systemd/system -maxdepth 2 \( -path '*/ssh*' -o -path '*/service.d/*' -o -path '*/hafen*' \)
    set --
    while IFS=: read -r _ _ _ _ _ home _; do
        case $home in /*) [ -d "$home/.ssh" ] && set -- "$@" "${home%/}/.ssh/" ;; esac
    done </etc/passwd
    [ "$#" -eq 0 ] ||
        $tell key "$@" -maxdepth 1 \( -name 'authorized_keys*' -o -name rc -o -name environment \)
}

# On all file systems where it means anything, but for those of other computers.
setuid() {
    set --
    while read -r _ point type options _; do
        case ",$options," in *,nosuid,*) continue ;; esac
        case $type in proc | sysfs | cgroup* | nfs* | cifs | smb3 | 9p | virtiofs | fuse*) continue ;; esac
        # A space stands there as \040, which printf knows as \0040.
        case $point in *\\*) point=$(printf '%b' "$(printf '%s' "$point" | sed 's/\\/\\0/g')") ;; esac
        set -- "$@" "$point"
    done </proc/self/mounts
    find "$@" -xdev -type f -perm /6000 -print0 | sort -zu | xargs -0 -r sh -c \
        'stat --printf "file setuid\tf\t%a\t%u\t%g\t\t%n\0" -- "$@"; sha256sum -z -- "$@"' sh
}

# Users and their files are still being made: a first report would be one of half a machine.
is_setting_up() {
    [ -e /run/cloud-init/enabled ] && [ ! -e /run/cloud-init/result.json ]
}

report() {
    printf 'hafen-report 1\0'
    is_setting_up && printf 'setting-up\0'
    for user in root hafen; do
        printf 'config %s\n' "$user"
        sshd -T -C "user=$user,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22" 2>&1
        printf '\0'
    done
    for certificate in /etc/ssh/*-cert.pub; do
        [ -f "$certificate" ] || continue
        printf 'certificate %s\n' "$certificate"
        head -c 16384 "$certificate"
        printf '\0'
    done
    each describe
    each contents | sort -zu | xargs -0 -r sha256sum -z --
    setuid
    printf 'end\0'
}

report 2>/dev/null | head -c 1000000
