# When all packages are installed; the argument is the root. Whatever touches the root runs inside of it, so that no
# link in it leads to the host.
set -eu
umask 022
chroot "$1" dpkg-query -W -f '${Package} ${Version}\n' >installed
chroot "$1" apt-mark -qq auto $(cat names) >/dev/null
chroot "$1" apt-mark -qq manual $(cat requested) >/dev/null
echo "hafen: putting the files in"
chroot "$1" tar -x -p -f - -C / --numeric-owner --no-overwrite-dir --keep-directory-symlink <files.tar
echo "hafen: running the commands"
. ./commands.sh
