# Before the kernel is installed: its initrd needs no more than what finds the disk. A small one boots sooner.
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/hafen"
printf '%s\n' virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod ext4 >"$1/usr/share/initramfs-tools/modules.d/hafen"
# The database of hardware is half of it, and no machine of ours has hardware to look up this early.
mkdir -p "$1/etc/initramfs-tools/hooks"
cat >"$1/etc/initramfs-tools/hooks/hafen" <<'END'
#!/bin/sh
if [ "$1" = prereqs ]; then echo udev; exit; fi
rm -f "$DESTDIR/usr/lib/udev/hwdb.bin"
END
chmod 755 "$1/etc/initramfs-tools/hooks/hafen"
