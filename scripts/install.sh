#!/bin/sh
# install.sh install:    puts everything below DESTDIR: PREFIX=/usr for the places of the base system, anything else
#                        for the layout of a port. Programs come from PROGRAMS (target/release).
#                        PREFIX=/usr keeps a copy of each file of the base system that it replaces.
# install.sh uninstall:  removes those files again and puts the copies back; configuration, pools and what an
#                        administrator added stay.
# install.sh list:       prints "mode path source" for each file.
# install.sh build:      builds the programs for this layout: where their configuration is, is built in.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
programs=${PROGRAMS:-$root/target/release}
destdir=${DESTDIR:-}

case $prefix in
# The shells that have completions are ports in either case.
/usr) etc=/etc layout=base shells=/usr/local/share ;;
/*) etc=$prefix/etc layout=port shells=$prefix/share ;;
*)
	echo "install: PREFIX must be an absolute path, not \"$prefix\"" >&2
	exit 64
	;;
esac

# Those of programs that are not built stay out.
pages() {
	for page in "$root"/docs/man/*.[578]; do
		page=${page##*/}
		case $page in
		*.8) ! sh "$root/scripts/programs.sh" | awk '{ print $2 ".8" }' | grep -qx "$page" || echo "$page" ;;
		*) echo "$page" ;;
		esac
	done
}

list() {
	sh "$root/scripts/programs.sh" | while read -r _ program directory; do
		echo "555 $prefix/$directory/$program $programs/$program"
	done
	sh "$root/scripts/rc.d.sh" | while read -r name; do
		echo "555 $etc/rc.d/$name rc.d"
	done
	pages | while read -r page; do
		echo "444 $prefix/share/man/man${page##*.}/$page $root/docs/man/$page"
	done
	echo "644 $etc/hyperv.toml.sample $root/etc/hyperv.toml.sample"
	echo "444 $shells/bash-completion/completions/hvctl $root/etc/completions/hvctl.bash"
	echo "444 $shells/fish/vendor_completions.d/hvctl.fish $root/etc/completions/hvctl.fish"
	echo "444 $shells/zsh/site-functions/_hvctl $root/etc/completions/_hvctl"
	for rules in "$root"/etc/devd/*; do
		[ ! -e "$rules" ] || echo "644 $etc/devd/${rules##*/} $rules"
	done
}

# The group of these files is wheel, which has this number on FreeBSD.
owner() { [ "$(id -u)" != 0 ] || echo "-o 0 -g 0"; }

# The rules of the base layout, or for a port those that win over them: of all rules that match devd(8) runs the one
# with the highest number only.
devd_rules() {
	case $layout in
	base) cat "$1" ;;
	port) sed -e "/action/s|\"/usr/|\"$prefix/|" -e 's/^notify \([0-9]\)/notify 1\1/' "$1" ;;
	esac
}

# A page or sample names the files of the layout that it is installed for.
filled_in() {
	case $layout in
	base) cat "$1" ;;
	port) sed -e "s#\\(^\|[^[:alnum:]]\\)/etc/hyperv\.toml#\\1$etc/hyperv.toml#g" "$1" ;;
	esac
}

build() {
	packages=$(sh "$root/scripts/programs.sh" | awk '{ printf "-p %s ", $1 }')
	cd "$root"
	# shellcheck disable=SC2086 # a list of options
	HV_CONFIG_FILE=$etc/hyperv.toml ${CARGO:-cargo} build --locked --release --bins $packages
}

install_one() {
	mode=$1 path=$2 source=$3
	case $source in
	rc.d) sh "$root/scripts/rc.d.sh" "${path##*/}" "$prefix" > "$temporary" ;;
	"$programs"/*)
		[ -x "$source" ] || {
			echo "install: $source is missing, make build PREFIX=$prefix makes it" >&2
			exit 66
		}
		cp "$source" "$temporary"
		;;
	"$root"/etc/devd/*)
		devd_rules "$source" > "$temporary"
		sh "$root/scripts/devd-check.sh" "$temporary"
		;;
	*) filled_in "$source" > "$temporary" ;;
	esac
	[ -d "$destdir${path%/*}" ] || install -d "$destdir${path%/*}"
	[ "$layout" = port ] || keep_replaced "$path"
	# shellcheck disable=SC2046 # options or nothing
	install $(owner) -m "$mode" "$temporary" "$destdir$path"
	[ "$layout" = port ] || record_installed "$path"
}

# The base layout replaces files of the base system: copies of them, and "checksum path" of what was installed.
kept=$destdir/var/backups/hyperv-guest
record=$kept/installed

sum_of() { cksum < "$1" | tr ' ' -; }

is_ours() { [ -e "$record" ] && grep -qxF "$(sum_of "$destdir$1") $1" "$record"; }

# What is there and is not ours is the base system's, at first and again when the base system was updated.
keep_replaced() {
	if [ -e "$destdir$1" ] && ! is_ours "$1"; then
		mkdir -p "$kept${1%/*}"
		cp -p "$destdir$1" "$kept$1"
	fi
}

record_installed() {
	mkdir -p "$kept"
	touch "$record"
	awk -v path="$1" '$2 != path' "$record" > "$record.new"
	echo "$(sum_of "$destdir$1") $1" >> "$record.new"
	mv "$record.new" "$record"
}

# Another program's file stays where it replaced ours.
remove_one() {
	[ ! -e "$record" ] || [ ! -e "$destdir$1" ] || is_ours "$1" || return 0
	rm -f "$destdir$1"
	[ ! -e "$kept$1" ] || mv "$kept$1" "$destdir$1"
}

install_all() {
	temporary=$(mktemp)
	trap 'rm -f "$temporary"' EXIT
	list | while read -r mode path source; do
		install_one "$mode" "$path" "$source"
	done
	if [ -z "$destdir" ]; then
		echo "Installed below $prefix. $etc/hyperv.toml.sample shows the settings; hv_kvp_daemon(8) and hyperv(7) say more."
		echo "devd(8) reads its rules at its next start only: service devd restart"
	fi
}

uninstall_all() {
	list | while read -r _ path _; do
		remove_one "$path"
	done
	if [ -d "$kept" ]; then
		rm -f "$record"
		find "$kept" -depth -type d -exec rmdir {} + 2>/dev/null || :
	fi
	# Only if nothing of the administrator's is in it.
	rmdir "$destdir$prefix/libexec/hyperv" 2>/dev/null || :
}

case ${1-} in
install) install_all ;;
uninstall) uninstall_all ;;
list) list ;;
build) build ;;
*)
	sed -n 2,8p "$0" >&2
	exit 64
	;;
esac
