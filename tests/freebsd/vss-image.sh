#!/bin/sh
# vss-image.sh: UFS in a file on UFS, by md(4): the one that holds the file is not suspended where the other one is mounted
# on it, and comes after it where it is not. An umount in between hangs nothing.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
# shellcheck disable=SC2119 # without options
start_host
make_ufs "$scratch/holder"
make_ufs "$scratch/side"
make_ufs "$scratch/holder/below" "$scratch/holder/below.img"
make_ufs "$scratch/side/across" "$scratch/holder/across.img"

# round MOUNT-POINT...: a freeze in which the first one is unmounted.
round() {
	configure "" "$@"
	"$daemon" -f "$scratch/hyperv.toml" -c
	start_daemon
	host vss freeze
	for on; do
		if is_suspended "$on"; then
			say "$on is suspended"
		else
			say "$on is not suspended"
		fi
	done
	umount "$1" &
	umounter=$!
	helper $umounter
	sleep 1
	host vss thaw
	if ! ends $umounter 30; then
		say "HUNG: umount of $1"
		procstat -kka | grep -E 'suspfs|dounmount|ffs_reload|ffs_susp|mdstart|vget' || :
		exit 1
	fi
	for on; do
		[ "$on" = "$1" ] || is_writable "$on"
	done
	end_daemon hv_vss_daemon
}

round "$scratch/holder/below" "$scratch/holder"
round "$scratch/side/across" "$scratch/holder" "$scratch/side"
say "file systems in files: nothing hangs"
