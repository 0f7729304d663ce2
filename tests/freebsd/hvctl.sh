#!/bin/sh
# hvctl.sh: hvctl beside both daemons on character devices: what it puts into a pool the host gets, a watch of a pool tells of
# changes by kqueue(2), and a freeze of a UFS of md(4) is seen while it lasts, through a control socket that lies on the frozen
# file system itself. A kill of the daemon then thaws, and the next one replaces the socket.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
programs=$PWD/target/release
mount_point=$scratch/ufs

tidy_up() {
	end_daemon hv_kvp_daemon KILL
	tidy_up_vss
}

hvctl() { "$programs/hvctl" -f "$scratch/hyperv.toml" "$@"; }

make_ufs "$mount_point"
cat > "$scratch/hyperv.toml" << EOF
[kvp]
pool-dir = "$scratch/pool"
ip-injection-dir = "$scratch/injection"
control-socket = "$scratch/kvp.sock"

[vss]
control-socket = "$mount_point/vss.sock"
history = "$scratch/backups"
EOF
rules_for "$mount_point" >> "$scratch/hyperv.toml"
# shellcheck disable=SC2119 # without options
start_host
"$programs/hv_kvp_daemon" -f "$scratch/hyperv.toml"
"$programs/hv_vss_daemon" -f "$scratch/hyperv.toml"
[ "$(stat -f %Lp "$mount_point/vss.sock")" = 600 ]

hvctl status
[ "$(hvctl status | grep -c 'running, pid')" -eq 2 ]
hvctl kvp put AppState healthy
host kvp get 1 AppState | grep -q healthy
hvctl kvp watch > "$scratch/changes" &
watcher=$!
helper $watcher
tries=0
until grep -q Owner "$scratch/changes"; do
	host kvp set 0 Owner "somebody $tries"
	tries=$((tries + 1))
	[ $tries -lt 100 ] || exit 1
	sleep 0.1
done

host vss freeze
hvctl --json status | grep -q "\"$mount_point\""
host vss thaw
# The host has its answer before the history is written.
tries=0
until hvctl vss history | grep -q good; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || exit 1
	sleep 0.1
done
hvctl vss check
hvctl vss test --seconds 1 --yes

# The descriptor of the socket does not keep a dead daemon from letting its suspensions go.
host vss freeze
end_daemon hv_vss_daemon KILL
touch "$mount_point/thawed"
"$programs/hv_vss_daemon" -f "$scratch/hyperv.toml"
hvctl vss check
hvctl --json status | grep -q '"frozen": \[\]'

# Whatever it finds on this machine, it ends.
hvctl doctor || [ $? -eq 1 ]
hvctl metrics | grep -q '^hyperv_daemon_up'
end_daemon hv_vss_daemon
end_daemon hv_kvp_daemon
[ ! -e "$mount_point/vss.sock" ]
[ ! -e "$scratch/kvp.sock" ]
host violations
echo "hvctl: pools, a watch, a freeze as it happens, a test freeze"
