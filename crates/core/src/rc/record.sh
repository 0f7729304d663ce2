# What rc(8) would do with interfaces: its own functions run, and ifconfig(8) is only written down.
# Arguments: rc.subr, network.subr, then for each interface its name and the form in which variables have it.
#
# Records end in NUL, on the descriptor that standard output is at first: what rc.conf prints goes elsewhere.
#   vNAME=VALUE      a variable that is set
#   dIF=sync, dIF=   the interface gets its address by DHCP, and whether rc(8) waits for it
#   cN               a call of ifconfig(8) whose N words are the next N records
exec 3>&1 >/dev/null
. "$1"
. "$2"
shift 2

for hv_name in load_rc_config ifconfig_up ipv4_up ipv6_up ipv6_autoconfif dhcpif syncdhcpif
do
	if ! command -v "$hv_name" >/dev/null
	then
		echo "$hv_name is no function of rc(8)" >&2
		exit 69
	fi
done

# The ones of rc.subr also write to the log, and this is no start of the network.
warn() { :; }
# These would start programs: wpa_supplicant, hostapd, dhclient and rtsol.
without_programs()
{
	wpaif() { return 1; }
	hostapif() { return 1; }
	syncdhcpif() { return 1; }
	ipv6_accept_rtadv_up()
	{
		ipv6_autoconfif "$1" && $IFCONFIG_CMD "$1" inet6 accept_rtadv up
	}
}

hv_record()
{
	printf 'c%d\0' $# >&3
	printf '%s\0' "$@" >&3
}

hv_show()
{
	for hv_name
	do
		eval "[ -z \"\${$hv_name+set}\" ] || printf 'v%s=%s\\0' \"\$hv_name\" \"\${$hv_name}\" >&3"
	done
}

# As rc.d/netif does.
if command -v set_rcvar_obsolete >/dev/null
then
	set_rcvar_obsolete ipv6_enable ipv6_activate_all_interfaces
	set_rcvar_obsolete ipv6_prefer
fi
# What each script of rc.d sees: a variable of rc.conf.d/network is none for rc.d/routing.
load_rc_config routing
hv_show defaultrouter ipv6_defaultrouter
load_rc_config dhclient
load_rc_config network
hv_show dhclient_program dhclient_flags background_dhclient
load_rc_config netif
hv_show ipv6_activate_all_interfaces

IFCONFIG_CMD=hv_record

# network.subr hands these values to eval.  Here nothing may happen, so what is more than words is refused.
hv_guard()
{
	hv_fields=$IFS
	IFS='
'
	set -f
	for hv_line in $(set)
	do
		case $hv_line in
		"ifconfig_$1="* | "ifconfig_$1_"*=* | "ipv4_addrs_$1="* | "ipv6_prefix_$1="* | ifconfig_DEFAULT=*)
			eval "hv_value=\${${hv_line%%=*}}"
			case $hv_value in
			*[\;\&\|\<\>\(\)\$\`]*)
				echo "${hv_line%%=*} has a character that only a shell could use" >&2
				exit 65
				;;
			esac
			;;
		esac
	done
	set +f
	IFS=$hv_fields
}

hv_of()
{
	hv_guard "$2"
	hv_show "ifconfig_$2" "ifconfig_${2}_ipv6" "dhclient_flags_$2" "background_dhclient_$2"
	if dhcpif "$1"
	then
		hv_wait=
		syncdhcpif "$1" && hv_wait=sync
		printf 'd%s=%s\0' "$1" "$hv_wait" >&3
	fi
	# Functions that are replaced in here stay what they are for the next interface.
	(
		without_programs
		ifconfig_up "$1"
		ipv4_up "$1"
		ipv6_up "$1"
	)
}
while [ $# -ge 2 ]
do
	hv_of "$1" "$2"
	shift 2
done
exit 0
