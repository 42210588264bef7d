# Before the kernel is installed: its initrd needs no more than what finds the disk. A small one boots sooner.
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/hafen"
printf '%s\n' virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod ext4 >"$1/usr/share/initramfs-tools/modules.d/hafen"
