# What rc(8) would do with interfaces: its own functions run, and ifconfig(8) is only written down.
# Arguments: rc.subr, network.subr, then for each interface its name and the form in which variables have it.
#
# The first interface is configured as rc(8) would, the others only where a variable of their own says something.
#
# Each of network.subr's questions is a subshell, so that each is asked once, and functions are called only where a
# variable gives them something to do.
#
# Records end in NUL, on the descriptor that standard output is at first: what rc.conf prints goes elsewhere.
#   vNAME=VALUE      a variable that is set
#   dIF=sync, dIF=   the interface gets its address by DHCP, and whether rc(8) waits for it
#   cN               a call of ifconfig(8) whose N words are the next N records
exec 3>&1 >/dev/null
. "$1"
. "$2"
shift 2

for hv_name in load_rc_config ifconfig_up ipv4_up ipv6_up ipv6if ipv6_autoconfif dhcpif syncdhcpif
do
	if ! command -v "$hv_name" >/dev/null
	then
		echo "$hv_name is no function of rc(8)" >&2
		exit 69
	fi
done

# The one of rc.subr also writes to the log, and this is no start of the network.
warn() { :; }

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

# network.subr hands values to eval.  Here nothing may happen, so what is more than words is refused.
hv_guard()
{
	eval "hv_value=\$$1"
	case $hv_value in
	*[\;\&\|\<\>\(\)\$\`]* | *"$hv_newline"*)
		echo "$1 has a character that only a shell could use" >&2
		exit 65
		;;
	esac
}

# hv_note STEM NAME: the variable NAME belongs to the interface of this stem.  hv_more_STEM collects names and values of
# the variables for which ipv4_up or ipv6_up has to run, such as aliases.  The variables of the first case are not among
# them: ifconfig_up reads them, or no function does that is called here.
hv_note()
{
	eval "hv_named_$1=1"
	case $2 in
	"ifconfig_$1" | "ifconfig_$1_ipv6" | "ifconfig_$1_descr" | "ifconfig_$1_name") ;;
	*) eval "hv_more_$1=\"\${hv_more_$1-} $2 \$$2\"" ;;
	esac
}

hv_newline='
'
hv_fields=$IFS
IFS=$hv_newline
set -f
for hv_line in $(set)
do
	hv_name=${hv_line%%=*}
	case $hv_name in
	ifconfig_DEFAULT) hv_guard "$hv_name" ;;
	ifconfig_[a-zA-Z]* | ipv4_[a-z]*_[a-zA-Z]* | ipv6_[a-z]*_[a-zA-Z]*)
		for hv_stem
		do
			case $hv_name in
			"ifconfig_$hv_stem" | "ifconfig_${hv_stem}_"* | ipv[46]_[a-z]*"_$hv_stem" | ipv[46]_[a-z]*"_${hv_stem}_"*)
				hv_guard "$hv_name"
				hv_note "$hv_stem" "$hv_name"
				;;
			esac
		done
		;;
	esac
done
set +f
IFS=$hv_fields

# Names and stems take turns: calls the function with each pair.
hv_each()
{
	hv_function=$1
	shift
	hv_first=1
	while [ $# -ge 2 ]
	do
		eval "hv_more=\${hv_more_$2-} hv_named=\${hv_named_$2-$hv_first}"
		hv_first=
		[ -z "$hv_named" ] || "$hv_function" "$1" "$2"
		shift 2
	done
}

hv_ask()
{
	hv_show "ifconfig_$2" "ifconfig_$2_ipv6" "dhclient_flags_$2" "background_dhclient_$2"
	if dhcpif "$1"
	then
		hv_wait=
		syncdhcpif "$1" && hv_wait=sync
		printf 'd%s=%s\0' "$1" "$hv_wait" >&3
		eval "hv_dhcp_$2=1"
	fi
	! ipv6if "$1" || eval "hv_ipv6_$2=1"
}
hv_each hv_ask "$@"

# From here on only ifconfig(8) is called, and nothing of that happens.  These would start programs: wpa_supplicant,
# hostapd, dhclient and rtsol.
IFCONFIG_CMD=hv_record
wpaif() { return 1; }
hostapif() { return 1; }
syncdhcpif() { return 1; }
ipv6_accept_rtadv_up()
{
	ipv6_autoconfif "$1" && hv_record "$1" inet6 accept_rtadv up
}
# These have been asked.
dhcpif() { [ -n "$hv_dhcp" ]; }
ipv6if() { [ -n "$hv_ipv6" ]; }
# Aliases of the Ethernet address are rare.
afexists()
{
	case $1:$hv_more in
	link:*link* | ether:*ether*) ;;
	link:* | ether:*) return 1 ;;
	*) check_kern_features "$1" ;;
	esac
}

hv_configure()
{
	eval "hv_dhcp=\${hv_dhcp_$2-} hv_ipv6=\${hv_ipv6_$2-}"
	ifconfig_up "$1"
	[ -z "$hv_more" ] || ipv4_up "$1"
	case $hv_more in
	*6*) ipv6_up "$1" ;;
	esac
}

# Those with more to say first, because a function that is replaced does not come back.
hv_configure_more() { [ -z "$hv_more" ] || hv_configure "$@"; }
hv_configure_less() { [ -n "$hv_more" ] || hv_configure "$@"; }
hv_each hv_configure_more "$@"
ifalias() { return 1; }
hv_each hv_configure_less "$@"
exit 0
