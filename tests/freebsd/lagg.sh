#!/bin/sh
# lagg.sh: the plans of hyperv_vfup on real interfaces: two epair(4), one in the place of hn0 and one in that of its VF, lead
# to a bridge in a jail. The configuration is in the real rc.conf(5); the address stays reachable when the VF goes. Then what
# the kernel does of its own: IPv6 taken at the join, routes that outlive addresses, vhids, bridges; and the rules of devd(8).
# No kernel but Hyper-V's names the VF of hn0, so the example vf-plan is told it.
set -eu
cd "$(dirname "$0")/../.."
jail=hyperv_lagg_test

tidy_up() {
	status=$?
	set +e
	sysrc -x ifconfig_hn0 > /dev/null 2>&1
	sysrc -x ifconfig_hn0_ipv6 > /dev/null 2>&1
	for interface in bridge9 lagg0 vf0 hn0; do
		ifconfig $interface destroy 2> /dev/null
	done
	jail -r $jail 2> /dev/null
	exit $status
}

for interface in hn0 lagg0; do
	if ifconfig $interface > /dev/null 2>&1; then
		echo "lagg: this machine has $interface already" >&2
		exit 69
	fi
done
if sysrc -n ifconfig_hn0 > /dev/null 2>&1; then
	echo "lagg: rc.conf has ifconfig_hn0 already" >&2
	exit 69
fi
trap tidy_up EXIT
trap 'exit 1' HUP INT TERM

cargo build --locked --release -p hv_core --example vf-plan
plan() { target/release/examples/vf-plan "$@"; }
reaches() { ping -q -c 1 -t 5 -S 192.0.2.10 192.0.2.1 > /dev/null; }

kldload -n if_epair if_bridge if_lagg
jail -c name=$jail persist vnet
synthetic=$(ifconfig epair create)
virtual=$(ifconfig epair create)
bridge=$(jexec $jail ifconfig bridge create)
for near in "$synthetic" "$virtual"; do
	far=${near%a}b
	ifconfig "$far" vnet $jail
	jexec $jail ifconfig "$far" up
	jexec $jail ifconfig "$bridge" addm "$far"
done
jexec $jail ifconfig "$bridge" inet 192.0.2.1/24 up

# A VF has the address of its adapter.
ifconfig "$synthetic" name hn0
ifconfig "$virtual" name vf0
ifconfig vf0 ether "$(ifconfig hn0 | sed -n 's/^[[:space:]]*ether //p')"
sysrc ifconfig_hn0="inet 192.0.2.10/24" > /dev/null
service netif start hn0
reaches

plan up hn0 vf0
ifconfig lagg0 | grep -q 'inet 192.0.2.10 '
[ "$(ifconfig lagg0 | grep -Ec 'laggport: (hn0|vf0) ')" -eq 2 ]
if ifconfig hn0 inet | grep -q 'inet '; then exit 1; fi
reaches
# Repeated it has nothing to do.
steps=$(plan -n up hn0 vf0)
[ -z "$steps" ]

ifconfig vf0 destroy
[ "$(ifconfig lagg0 | grep -c 'laggport: ')" -eq 1 ]
reaches

plan down hn0
if ifconfig lagg0 > /dev/null 2>&1; then exit 1; fi
ifconfig hn0 | grep -q 'inet 192.0.2.10 '
reaches
steps=$(plan -n down hn0)
[ -z "$steps" ]

# The rules that are shipped keep devd(8) alive.
sh scripts/devd-check.sh etc/devd/hyperv.conf

virtual=$(ifconfig epair create)
far=${virtual%a}b
ifconfig "$far" vnet $jail
jexec $jail ifconfig "$far" up
jexec $jail ifconfig "$bridge" addm "$far"
ifconfig "$virtual" name vf0
ifconfig vf0 ether "$(ifconfig hn0 | sed -n 's/^[[:space:]]*ether //p')" up

# IPv6 with a route to another network: the kernel takes the addresses at the join and leaves the route. Each is there once.
sysrc ifconfig_hn0_ipv6="inet6 2001:db8::10/64" > /dev/null
service netif restart hn0
route -n add -inet6 -net 2001:db8:20::/48 2001:db8::fe
ways() { netstat -rn6 | grep -c '^2001:db8:20::/48 '; }
[ "$(ways)" -eq 1 ]
plan up hn0 vf0
ifconfig lagg0 | grep -q 'inet6 2001:db8::10 '
[ "$(ways)" -eq 1 ]
netstat -rn6 | grep '^2001:db8:20::/48 ' | grep -q lagg0
plan down hn0
ifconfig hn0 | grep -q 'inet6 2001:db8::10 '
[ "$(ways)" -eq 1 ]

# A vhid goes along with its password, and comes back.
if kldload -n carp; then
	ifconfig hn0 inet vhid 9 advskew 100 pass hv_test alias 192.0.2.99/32
	plan up hn0 vf0 > plan.out
	if grep -q hv_test plan.out; then exit 1; fi
	rm -f plan.out
	ifconfig lagg0 | grep -q 'inet 192.0.2.99 .*vhid 9'
	ifconfig -k lagg0 | grep -q 'vhid 9 .*key "hv_test"'
	plan down hn0
	ifconfig -k hn0 | grep -q 'vhid 9 .*key "hv_test"'
	ifconfig hn0 inet 192.0.2.99 -alias
fi

# A port that the kernel refuses: everything is as it was, IPv6 too.
before=$(ifconfig hn0 | grep 'inet')
ifconfig lagg9 create laggport vf0
if plan up hn0 vf0; then exit 1; fi
ifconfig lagg9 destroy
[ "$(ifconfig hn0 | grep 'inet')" = "$before" ]

# A member of a bridge is left alone.
ifconfig bridge9 create
ifconfig bridge9 addm hn0
if plan -n up hn0 vf0; then exit 1; fi
ifconfig bridge9 destroy
echo "lagg: joined, left by its VF and taken apart, reachable all the time"
