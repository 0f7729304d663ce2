#!/bin/sh
# vss-kill.sh: kill -9 of a frozen daemon thaws, whatever it was started with: standard input from a file, a directory or
# a FIFO of the file system that it freezes, and files on other descriptors. A thaw that comes after that is a failure.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
# shellcheck disable=SC2119 # without options
start_host
make_ufs "$scratch/ufs"
echo something > "$scratch/ufs/file"
mkfifo "$scratch/ufs/fifo"
configure "" "$scratch/ufs"

for input in file . fifo; do
	# Open for both, so that opening the FIFO does not wait for a writer.
	mode='<'
	[ $input != fifo ] || mode='<>'
	# The sources of a supervisor's careless descriptors.
	sh -c "exec '$daemon' -n -f '$scratch/hyperv.toml' $mode'$scratch/ufs/$input' 4<'$scratch/ufs/file' > /dev/null 2>&1" &
	frozen=$!
	helper $frozen
	tries=0
	until host vss check; do
		tries=$((tries + 1))
		[ $tries -lt 50 ]
		sleep 0.2
	done
	host vss freeze
	is_suspended "$scratch/ufs"
	kill -9 $frozen
	if ! ends $frozen 20 || ! ends "$writer" 20; then
		say "HUNG: killed with standard input from $input, the file system stays frozen"
		exit 1
	fi
	is_writable "$scratch/ufs"
	refused host vss thaw
	say "killed with standard input from $input: thawed"
done

start_daemon
refused host vss thaw
say "a thaw without a freeze of this daemon is a failure"
host vss backup
end_daemon hv_vss_daemon
