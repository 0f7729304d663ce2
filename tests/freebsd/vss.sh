#!/bin/sh
# vss.sh: hv_vss_daemon with the kernel's own /dev/ufssuspend. While a UFS of md(4) is frozen a write to it sleeps; the
# thaw of the host lets it go on, and so does the death of the daemon. At last all file systems of this machine.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
mount_point=$scratch/ufs
make_ufs "$mount_point"
rules_for "$mount_point" > "$scratch/hyperv.toml"
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
