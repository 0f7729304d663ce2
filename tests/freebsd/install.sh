#!/bin/sh
# install.sh: both layouts into a scratch directory against their lists, with the install(1) and sh(1) of FreeBSD.
set -eu
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# "mode path" of everything that is not a directory.
found() { (cd "$1" && find . ! -type d -exec stat -f '%Lp %N' {} + | sed 's| \./| /|' | sort); }

wanted_in_base() { grep -v '^#' packaging/plist | sort; }

wanted_in_port() {
	{
		sed -e 's/^@sample //' -e 's/\.gz$//' packaging/port/pkg-plist
		sh scripts/rc.d.sh | sed 's|^|etc/rc.d/|'
	} | sed 's|^|/usr/local/|' | sort
}

DESTDIR=$scratch/base PREFIX=/usr sh scripts/install.sh install
found "$scratch/base" | grep -v ' /var/backups/hyperv-guest/installed$' > "$scratch/found"
wanted_in_base | diff - "$scratch/found"

DESTDIR=$scratch/port PREFIX=/usr/local sh scripts/install.sh install
found "$scratch/port" | sed 's/^[0-9]* //' | sort > "$scratch/found"
wanted_in_port | diff - "$scratch/found"
[ -z "$(find "$scratch" ! -user root -o ! -group wheel)" ]

DESTDIR=$scratch/port PREFIX=/usr/local sh scripts/install.sh uninstall
[ -z "$(find "$scratch/port" ! -type d)" ]
DESTDIR=$scratch/base PREFIX=/usr sh scripts/install.sh uninstall
[ -z "$(find "$scratch/base" ! -type d)" ]

# Files of the base system come back as they were.
cp /etc/devd.conf "$scratch/of-base"
install -d "$scratch/base/etc/devd"
cp "$scratch/of-base" "$scratch/base/etc/devd/hyperv.conf"
DESTDIR=$scratch/base PREFIX=/usr sh scripts/install.sh install
DESTDIR=$scratch/base PREFIX=/usr sh scripts/install.sh uninstall
cmp "$scratch/of-base" "$scratch/base/etc/devd/hyperv.conf"
echo "install: both layouts are what the lists say"
