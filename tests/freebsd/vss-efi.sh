#!/bin/sh
# vss-efi.sh: a guest with an EFI system partition, which is an msdosfs, is backed up, wherever the partition is mounted.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
# shellcheck disable=SC2119 # without options
start_host
make_ufs "$scratch/ufs"
disk=$(mdconfig -a -t swap -s 64m)
made="$disk=$scratch/esp $made"
gpart create -s gpt "$disk"
gpart add -t efi -s 40m "$disk"
newfs_msdos -F 32 -c 1 "/dev/${disk}p1" > /dev/null
mkdir "$scratch/esp"
mount_msdosfs "/dev/${disk}p1" "$scratch/esp"

# What the flush has to live with: EINVAL after the writes were done.
refused fsync "$scratch/esp" 2> "$scratch/error"
say "fsync(1) of its root says: $(cat "$scratch/error")"

configure "" "$scratch/ufs" "$scratch/esp"
"$daemon" -f "$scratch/hyperv.toml" -c | tee "$scratch/check"
grep "$scratch/esp" "$scratch/check" | grep -q sync
start_daemon
for n in 1 2 3 4 5; do
	echo "$n" > "$scratch/esp/file$n"
	host vss check
	host vss freeze
	is_suspended "$scratch/ufs"
	# What was written before the freeze is on the disk: another look at the device sees it.
	mkdir -p "$scratch/look"
	dd if="/dev/${disk}p1" of="$scratch/image" bs=1m 2> /dev/null
	image=$(mdconfig -a -t vnode -o readonly -f "$scratch/image")
	mount_msdosfs -o ro "/dev/$image" "$scratch/look"
	read -r seen < "$scratch/look/file$n"
	umount "$scratch/look"
	mdconfig -d -u "$image"
	[ "$seen" = "$n" ]
	host vss thaw
	ends "$writer" 10
done
end_daemon hv_vss_daemon
say "five backups with an EFI partition, each with what was written before"
