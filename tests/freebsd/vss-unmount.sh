#!/bin/sh
# vss-unmount.sh: umount(8) while the guest is frozen, of a mount on a mount, once and in a loop. A kernel that is resumed
# in a wrong order hangs here for good: then this says who waits for what, and only a reset helps.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
parent=$scratch/parent
child=$parent/child
# shellcheck disable=SC2119 # without options
start_host
make_ufs "$parent"
make_ufs "$child"
child_disk=${made%%=*}
configure "" "$parent" "$child"
start_daemon

# hung: shows everything that sleeps, and fails.
hung() {
	say "HUNG: $1"
	procstat -kka | grep -E 'suspfs|dounmount|ffs_reload|ffs_susp|suspwt|vget' || :
	exit 1
}

# within SECONDS COMMAND...
within() {
	seconds=$1
	shift
	"$@" &
	asked=$!
	ends $asked "$seconds" || hung "$*"
	wait $asked
}

for force in "" -f; do
	within 30 host vss freeze
	# shellcheck disable=SC2086 # an option or none
	umount $force "$child" &
	umounter=$!
	helper $umounter
	sleeps $umounter || say "umount $force did not sleep for the resume"
	within 30 host vss thaw
	ends $umounter 30 || hung "umount $force"
	wait $umounter
	is_writable "$parent" || hung "a write to the parent"
	mount "/dev/$child_disk" "$child"
done
say "an umount between freeze and thaw goes on with the thaw, and so does all else"

(
	while [ ! -e "$scratch/stop" ]; do
		if umount "$child"; then
			mount "/dev/$child_disk" "$child"
		else
			sleep 0.01
		fi
	done
) > /dev/null 2>&1 &
looper=$!
helper $looper
good=0
for _ in $(jot 30); do
	if within 30 host vss freeze; then
		sleep 0.1
		within 30 host vss thaw && good=$((good + 1))
	fi
done
touch "$scratch/stop"
ends $looper 30 || hung "the loop of umount and mount"
is_writable "$parent" || hung "a write to the parent"
say "a loop of umount and mount beside 30 backups: $good good, nothing hangs"

# The same, with the daemon killed while an umount sleeps.
mount | grep -q " on $child " || mount "/dev/$child_disk" "$child"
within 30 host vss freeze
umount "$child" &
umounter=$!
helper $umounter
sleeps $umounter || :
end_daemon hv_vss_daemon KILL
ends $umounter 30 || hung "umount, after the daemon was killed"
is_writable "$parent" || hung "a write to the parent, after the daemon was killed"
say "the daemon's death with an umount asleep leaves nothing frozen"
