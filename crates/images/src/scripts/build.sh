# Makes a root file system of a repository and files, and a disk of it. Runs as root of its own namespaces, in the
# workshop. Given: RELEASE ARCHITECTURE PACKAGES SOURCE_DATE_EPOCH UUID SEED
set -eu
umask 022
export TMPDIR="$PWD"
export E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH"

# The compressed man pages, documents and translations would be a third of the disk; licences stay.
mmdebstrap --mode=root --variant=apt --format=directory --architectures="$ARCHITECTURE" --include="$PACKAGES" \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --essential-hook='sh ./essential.sh "$1"' \
  --customize-hook='sh ./customize.sh "$1"' \
  "$RELEASE" root "deb [trusted=yes] copy:$PWD/repository ./"

echo "hafen: making the disk"
cd root
# What a virtual machine boots with is beside the disk.
kernel=$(ls -1v boot/vmlinuz-* 2>/dev/null | tail -n 1)
initrd=boot/initrd.img-${kernel##*/vmlinuz-}
if [ ! -f "$kernel" ] || [ -L "$kernel" ]; then echo "hafen: no kernel"; exit 3; fi
cat "$kernel" >../kernel
if [ -f "$initrd" ] && [ ! -L "$initrd" ]; then cat "$initrd" >../initrd; fi
rm -f vmlinuz vmlinuz.old initrd.img initrd.img.old boot/vmlinuz-* boot/initrd.img-*

# What the host or the time of the build left.
rm -rf dev/* dev/.[!.]* run/* run/.[!.]* tmp/* tmp/.[!.]* var/tmp/* var/tmp/.[!.]*
rm -rf var/lib/apt/lists/* var/cache/apt/* var/cache/ldconfig var/cache/debconf/*-old var/lib/dpkg/*-old
rm -f etc/passwd- etc/group- etc/shadow- etc/gshadow- etc/subuid- etc/subgid- etc/.pwd.lock
rm -f etc/apt/apt.conf.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/99mmdebstrap
find var/log -type f -delete
rm -f etc/machine-id var/lib/dbus/machine-id
: >etc/machine-id
[ -L etc/resolv.conf ] || : >etc/resolv.conf
echo localhost >etc/hostname
[ -f etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >etc/hosts
# No mirror: which one machines may reach is the recipe's matter, and the digest must not depend on the builder's.
: >etc/apt/sources.list
. ../forbidden.sh
find . -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

find . -mindepth 1 -printf '%P\0%y\0%m\0%U\0%G\0%s\0%Ts\0%n\0%l\0' >../listing
find . -type f -printf '%P\0' | xargs -0 -r sha256sum -z -- >../sums

# Blocks of 4096 bytes: contents and names, a reserve, the journal, and the tables of mke2fs itself.
set -- $(find . -printf '%y %s\n' | awk '
  { files++ } $1 == "f" { blocks += int(($2 + 4095) / 4096) } $1 == "d" { blocks += 1 + int($2 / 4096) }
  END { print blocks, files }')
inodes=$(($2 + $2 / 4 + 2048))
mebibytes=$((($1 + $1 / 20 + inodes / 16) / 256 + 16 + 48))
cd ..
# Features by name: the host's mke2fs.conf must not matter.
MKE2FS_CONFIG=/dev/null mke2fs -q -F -t ext4 -b 4096 -I 256 -N "$inodes" -m 1 -J size=16 -U "$UUID" \
  -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
  -E "hash_seed=$SEED,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard" \
  -d root disk.raw "${mebibytes}M"
