#!/bin/sh
# injection.sh: addresses that the host sets, beside the real rc(8), dhclient(8) and resolvconf(8): an injection while
# "service netif restart" runs, one of DHCP without a server, the default route that a restart drops, and the advice of -R.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
daemon=$PWD/target/release/hv_kvp_daemon
# The host writes it in braces.
guid=0a1b2c3d-0000-1111-2222-333344445555

tidy_up() {
	end_daemon hv_kvp_daemon KILL
	cp "$scratch/rc.conf.before" /etc/rc.conf
	! ifconfig hn0 > /dev/null 2>&1 || ifconfig hn0 destroy
}

cp /etc/rc.conf "$scratch/rc.conf.before"
kldload -n if_epair
interface=$(ifconfig epair create)
ifconfig "${interface%a}b" up
ifconfig "$interface" name hn0
sysrc ifconfig_hn0='inet 192.0.2.1/24'
ifconfig hn0 inet 192.0.2.1/24 up
# The driver of hn0 is epair(4) here, which the host could not configure otherwise.
cat > "$scratch/hyperv.toml" << EOF
[facts]
hn-by-name = true
[kvp]
pool-dir = "$scratch/pool"
ip-injection-dir = "$scratch/injection"
EOF
start_host --adapter "hn0=$guid"
"$daemon" -f "$scratch/hyperv.toml" -t
"$daemon" -f "$scratch/hyperv.toml"

only() {
	[ "$(ifconfig hn0 inet | sed -n 's/^[[:space:]]*inet \([^ ]*\) .*/\1/p' | tr '\n' ' ')" = "$1 " ]
}

# At offsets around a restart that had read the old address. A failure must be a clean one.
for offset in 0 0.1 0.25 0.5 1 2 3; do
	service netif restart hn0 &
	restart=$!
	sleep "$offset"
	if host kvp set-ip "{$guid}" --address "192.0.2.20/24"; then wanted=192.0.2.20; else wanted=192.0.2.1; fi
	# Not for the simulated host, which runs in the background, too.
	wait "$restart"
	tries=0
	until only "$wanted"; do
		tries=$((tries + 1))
		[ "$tries" -lt 40 ]
		sleep 0.5
	done
	grep -q "$wanted" /etc/rc.conf
	host kvp set-ip "{$guid}" --address 192.0.2.1/24
	only 192.0.2.1
done

# DHCP, where nobody answers: the client is there, and goes with all its processes.
host kvp set-ip "{$guid}" --dhcp
pgrep -f 'dhclient: hn0' > /dev/null
host kvp set-ip "{$guid}" --address 192.0.2.30/24
if pgrep -f 'dhclient: hn0' > /dev/null; then exit 1; fi
only 192.0.2.30

"$daemon" -f "$scratch/hyperv.toml" -R hn0 | tee "$scratch/advice"
grep -q 'service netif restart hn0' "$scratch/advice"
grep -q "192.0.2.1/24" /etc/rc.conf

end_daemon hv_kvp_daemon
host violations
echo "injection: beside netif restart, to DHCP and back"
