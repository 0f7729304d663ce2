#!/bin/sh
# kvp.sh: hv_kvp_daemon on a character device: it registers, keeps what the host writes over a kill, and tells of the real
# system and of a real interface; an adapter that the kernel does not know is not configured, nor one of another driver.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
daemon=$PWD/target/release/hv_kvp_daemon
guid=0a1b2c3d-0000-1111-2222-333344445555

tidy_up() {
	end_daemon hv_kvp_daemon KILL
	! ifconfig hn0 > /dev/null 2>&1 || ifconfig hn0 destroy
}

kldload -n if_epair
interface=$(ifconfig epair create)
ifconfig "$interface" name hn0
ifconfig hn0 inet 192.0.2.1/24 up
mac=$(ifconfig hn0 | sed -n 's/^[[:space:]]*ether //p')
printf 'hostname="guest.example.org"\n' > "$scratch/rc.conf"
cat > "$scratch/hyperv.toml" << EOF
[kvp]
pool-dir = "$scratch/pool"
ip-injection-dir = "$scratch/injection"
rc-conf = "$scratch/rc.conf"
EOF
start_host --adapter "hn0=$guid"

# It detaches when it is registered.
"$daemon" -f "$scratch/hyperv.toml"
host kvp set 0 Owner somebody
[ "$(pgrep -x hv_kvp_daemon | wc -l)" -eq 1 ]
end_daemon hv_kvp_daemon KILL
"$daemon" -f "$scratch/hyperv.toml"
host kvp get 0 Owner > "$scratch/owner"
grep -q somebody "$scratch/owner"
host kvp delete 0 Owner
host --expect S_CONT kvp get 0 Owner

host kvp enumerate 2 > "$scratch/facts"
grep -q "^OSName  *FreeBSD" "$scratch/facts"
grep -q "^OSMajorVersion  *$(uname -r | cut -d . -f 1)\$" "$scratch/facts"
grep -q "^ProcessorArchitecture  *$(uname -m)\$" "$scratch/facts"
host kvp ip-info "$mac" > "$scratch/addresses"
grep -q 192.0.2.1 "$scratch/addresses"

# The kernel passes on the name of an adapter that it does not know: nothing is configured.
host --expect GUID_NOTFOUND kvp set-ip "{ffffffff-0000-1111-2222-333344445555}" --address 192.0.2.10/24
ifconfig hn0 inet > "$scratch/after"
grep -q 'inet 192.0.2.1 ' "$scratch/after"
if grep -q 192.0.2.10 "$scratch/after" "$scratch/rc.conf"; then exit 1; fi
# Nor is an interface that only has the name of one of hn(4).
host --expect GUID_NOTFOUND kvp set-ip "{$guid}" --address 192.0.2.10/24
ifconfig hn0 inet > "$scratch/after"
if grep -q 192.0.2.10 "$scratch/after" "$scratch/rc.conf"; then exit 1; fi

end_daemon hv_kvp_daemon
host violations
echo "kvp: registration, pools and facts on a character device; an unknown adapter is not configured"
