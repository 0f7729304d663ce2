#!/bin/sh
# rc.d.sh:              prints the names of the rc.d scripts, those of programs that are in scripts/programs.
# rc.d.sh NAME PREFIX:  prints the script. The ports framework fills in %%PREFIX%% itself.
# rc.d.sh --check:      lets shellcheck read what is installed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

names() {
	sed 's/#.*//' "$root/rc.d/services" | awk 'NF { print $1 }' | while read -r name; do
		if sh "$root/scripts/programs.sh" | awk '{ print $2 }' | grep -qx "$name"; then echo "$name"; fi
	done
}

script() {
	sed 's/#.*//' "$root/rc.d/services" | while read -r name device description; do
		if [ "$name" = "$1" ]; then
			sed -e "s|%%NAME%%|$name|g" -e "s|%%DEVICE%%|$device|g" -e "s|%%DESC%%|$description|g" \
				-e "s|%%PREFIX%%|$2|g" "$root/rc.d/daemon.in"
		fi
	done
}

case ${1-} in
'') names ;;
--check)
	sh "$root/scripts/need.sh" shellcheck
	# rc.subr is not here to be read, and takes the variables that seem unused.
	names | while read -r name; do
		script "$name" /usr | shellcheck -s sh -e SC1091,SC2034 -
	done
	;;
*)
	[ $# -eq 2 ] || {
		sed -n 2,4p "$0" >&2
		exit 64
	}
	script "$1" "$2"
	;;
esac
