#!/bin/sh
# rcd.sh: the scripts under the real rc.subr(8), service(8) and rcorder(8). On a machine that is no guest of Hyper-V
# nothing starts, and that is said.
set -eu
cd "$(dirname "$0")/../.."
PREFIX=/usr/local sh scripts/install.sh install
trap 'PREFIX=/usr/local sh scripts/install.sh uninstall' EXIT

complaints=$(rcorder /etc/rc.d/* /usr/local/etc/rc.d/* 2>&1 > /dev/null | grep hv_ || :)
[ -z "$complaints" ] || { echo "$complaints" >&2 && exit 1; }
order=$(rcorder /etc/rc.d/* /usr/local/etc/rc.d/* 2> /dev/null | sed 's|.*/||')
place() { echo "$order" | grep -nx "$1" | cut -d : -f 1; }

for name in $(sh scripts/rc.d.sh); do
	[ "$(place FILESYSTEMS)" -lt "$(place "$name")" ]
	[ "$(place devd)" -lt "$(place "$name")" ]
	[ "$(place "$name")" -lt "$(place DAEMON)" ]
	service "$name" rcvar | grep -q "${name}_enable"
	service "$name" oneconfigtest
	service "$name" oneextracommands | grep -q configtest
	if [ "$(sysctl -n kern.vm_guest)" = hv ]; then
		service "$name" onestatus || service "$name" onestart
		[ "$(pgrep -x "$name" | wc -l)" -eq 1 ]
	else
		service "$name" onestart | grep -q 'this is not a Hyper-V guest'
		if service "$name" onestatus; then exit 1; fi
	fi
done
echo "rcd: rc.subr and rcorder take the scripts"
