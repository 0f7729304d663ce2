#!/bin/sh
# vss.sh: hv_vss_daemon with the kernel's own /dev/ufssuspend. While a UFS of md(4) is frozen a write to it sleeps; the
# thaw of the host lets it go on, and so does the death of the daemon. At last all file systems of this machine.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
daemon=$PWD/target/release/hv_vss_daemon
mount_point=$scratch/ufs
md=

tidy_up() {
	end_daemon hv_vss_daemon KILL
	[ -z "$md" ] || umount -f "$mount_point"
	[ -z "$md" ] || mdconfig -d -u "$md"
}

# What sleeps because its file system is suspended waits for "suspfs".
sleeps() {
	tries=0
	until [ "$(ps -o wchan= -p "$1" | tr -d ' ')" = suspfs ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.1
	done
}

md=$(mdconfig -a -t swap -s 64m)
newfs -U "/dev/$md" > /dev/null
mkdir "$mount_point"
mount "/dev/$md" "$mount_point"
cat > "$scratch/hyperv.toml" << EOF
[[vss.mounts]]
mount-point = "$mount_point"
action = "suspend"

[[vss.mounts]]
mount-point = "**"
action = "ignore"
EOF
# shellcheck disable=SC2119 # without options
start_host

# It detaches when it serves the device.
"$daemon" -f "$scratch/hyperv.toml"
host vss check
host vss freeze
touch "$mount_point/one" &
writer=$!
sleeps $writer
host vss thaw
wait $writer
[ -e "$mount_point/one" ]

host vss freeze
touch "$mount_point/two" &
writer=$!
sleeps $writer
end_daemon hv_vss_daemon KILL
wait $writer
[ -e "$mount_point/two" ]

# With the policy that it has without a configuration.
printf '' > "$scratch/hyperv.toml"
"$daemon" -f "$scratch/hyperv.toml" -c
"$daemon" -f "$scratch/hyperv.toml"
host vss backup
touch "$mount_point/three"

end_daemon hv_vss_daemon
host violations
echo "vss: UFS is frozen and thawed by the kernel, after a kill as well"
