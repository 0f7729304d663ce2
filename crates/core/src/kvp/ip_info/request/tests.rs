//! Requests of SET_IP_INFO: valid, unusual and malformed ones. Each malformed one names the expected item.

use super::*;

/// A valid request: `hn0`, 10.1.1.5/24 and nothing else.
fn good() -> NetworkRequest {
    NetworkRequest {
        adapter: "hn0".into(),
        address_family: 1,
        dhcp: false,
        addresses: "10.1.1.5".into(),
        masks: "255.255.255.0".into(),
        gateways: String::new(),
        name_servers: String::new(),
    }
}

fn ipv6() -> NetworkRequest {
    NetworkRequest { address_family: 2, addresses: "fd00::5".into(), masks: "64".into(), ..good() }
}

fn parsed(request: &NetworkRequest) -> StaticAddresses {
    match parse(request).unwrap().method {
        Method::Static(addresses) => addresses,
        Method::Dhcp => panic!("{request:?} is static"),
    }
}

fn texts<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_request_has_the_families_of_its_addresses() {
    for (request, families) in [(good(), (true, false)), (ipv6(), (false, true))] {
        let found = parsed(&request);
        assert_eq!((found.has_family(true), found.has_family(false)), families);
    }
}

#[test]
fn both_families_with_all_lists() {
    let request = NetworkRequest {
        address_family: 3,
        addresses: "10.1.1.5;FD00::5; 10.1.2.5 ;".into(),
        masks: "255.255.255.0;/64;255.255.255.255".into(),
        gateways: "fe80::1;10.1.1.1;10.1.1.2".into(),
        name_servers: "10.1.1.2;fd00::53\t;127.0.0.1".into(),
        ..good()
    };
    let found = parsed(&request);
    assert_eq!(texts(&found.addresses), "10.1.1.5/24 fd00::5/64 10.1.2.5/32");
    assert_eq!(texts(&found.gateways), "fe80::1 10.1.1.1 10.1.1.2");
    assert_eq!(texts(&found.name_servers), "10.1.1.2 fd00::53 127.0.0.1");
    assert_eq!(found.gateway(true), "10.1.1.1".parse().ok());
    assert_eq!(found.gateway(false), "fe80::1".parse().ok());
}

// contract K37
#[test]
fn with_dhcp_the_lists_are_not_read() {
    for family in 0..=3 {
        let request = NetworkRequest {
            address_family: family,
            dhcp: true,
            addresses: "$(reboot)".into(),
            masks: ";".into(),
            ..good()
        };
        assert_eq!(parse(&request).unwrap().method, Method::Dhcp);
    }
    let request = NetworkRequest { address_family: 4, dhcp: true, ..good() };
    assert_eq!(parse(&request).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn a_list_that_fills_its_field_is_read_whole() {
    let addresses: Vec<String> = (1..=113).map(|n| format!("10.1.1.{n}")).collect();
    let masks = vec!["255.0.0.0"; 113];
    let request = NetworkRequest { addresses: addresses.join(";"), masks: masks.join(";"), ..good() };
    assert_eq!(parsed(&request).addresses.len(), 113);
}

#[test]
fn adapters_of_other_drivers_are_refused() {
    let long = "h".repeat(1024);
    for adapter in [
        "",
        "{11111111-2222-3333-4444-555555555555}",
        "hn",
        "hn01",
        "hn0 ",
        " hn0",
        "HN0",
        "hn0\n",
        "hn0;reboot",
        "$(reboot)",
        "em0",
        "lo0",
        "hn0.5",
        "../hn0",
        "hn0\u{e9}",
        "hn-1",
        "hn4294967296",
        &long,
    ] {
        let error = parse(&NetworkRequest { adapter: adapter.into(), ..good() }).unwrap_err();
        assert_eq!(error.code(), Code::GuidNotFound, "{adapter:?}");
        assert!(error.to_string().len() < 200);
    }
    for adapter in ["hn0", "hn10", "lagg0"] {
        assert!(parse(&NetworkRequest { adapter: adapter.into(), ..good() }).is_ok(), "{adapter}");
    }
}

/// A name, a change of the valid request, and a part of the expected error.
type Row = (&'static str, fn(&mut NetworkRequest), &'static str);

const HOSTILE: &[Row] = &[
    // Shell syntax, in each field.
    ("substitution", |r| r.addresses = "$(reboot)".into(), "address 1 \"$(reboot)\" is no IP address"),
    ("backquotes", |r| r.addresses = "`id`".into(), "address 1"),
    ("semicolon", |r| r.addresses = "10.1.1.5;reboot".into(), "address 2 \"reboot\" is no IP address"),
    ("pipe", |r| r.addresses = "10.1.1.5|sh".into(), "address 1"),
    ("ampersand", |r| r.addresses = "10.1.1.5&".into(), "address 1"),
    ("redirection", |r| r.addresses = "10.1.1.5>/etc/passwd".into(), "address 1"),
    ("quote", |r| r.addresses = "10.1.1.5'".into(), "address 1"),
    ("double quote", |r| r.addresses = "10.1.1.5\"".into(), "address 1"),
    ("backslash", |r| r.addresses = "10.1.1.5\\".into(), "address 1"),
    ("comment", |r| r.addresses = "10.1.1.5 #".into(), "address 1"),
    ("variable", |r| r.masks = "$IFS".into(), "mask 1 \"$IFS\""),
    ("option", |r| r.addresses = "-alias".into(), "address 1"),
    ("substitution in a mask", |r| r.masks = "$(reboot)".into(), "mask 1"),
    ("substitution in a gateway", |r| r.gateways = "$(reboot)".into(), "gateway 1"),
    ("substitution in a name server", |r| r.name_servers = "$(reboot)".into(), "name server 1"),
    ("assignment in a name server", |r| r.name_servers = "x=y".into(), "name server 1"),
    // Newlines, control characters, other text.
    ("newline", |r| r.addresses = "10.1.1.5\n".into(), "address 1 \"10.1.1.5\\n\""),
    ("newline before", |r| r.addresses = "\n10.1.1.5".into(), "address 1"),
    ("carriage return", |r| r.masks = "255.255.255.0\r".into(), "mask 1"),
    ("line in a name server", |r| r.name_servers = "10.1.1.1\nsearch evil".into(), "name server 1"),
    ("newline between", |r| r.gateways = "10.1.1.1\n10.1.1.2".into(), "gateway 1"),
    ("escape", |r| r.addresses = "\u{1b}[2J".into(), "address 1"),
    ("replaced bytes", |r| r.addresses = "10.1.1.5\u{fffd}".into(), "address 1"),
    ("wide digits", |r| r.addresses = "\u{ff11}0.1.1.5".into(), "address 1"),
    ("hard blank", |r| r.addresses = "\u{a0}10.1.1.5".into(), "address 1"),
    ("text", |r| r.addresses = "localhost".into(), "address 1"),
    ("text in a gateway", |r| r.gateways = "router".into(), "gateway 1"),
    ("text in a name server", |r| r.name_servers = "dns.example.org".into(), "name server 1"),
    ("1024 characters", |r| r.addresses = "1".repeat(1024), "address 1"),
    ("1024 characters of mask", |r| r.masks = "a".repeat(1024), "mask 1"),
    ("1024 semicolons", |r| r.addresses = ";".repeat(1024), "address 1 \"\" is empty"),
    ("1024 blanks", |r| r.addresses = " ".repeat(1024), "address 1 \"\" is empty"),
    ("512 characters of gateway", |r| r.gateways = "fe80:".repeat(102), "gateway 1"),
    ("1024 characters of name server", |r| r.name_servers = "%".repeat(1024), "name server 1"),
    // Lists.
    ("no address", |r| r.addresses = String::new(), "there is no address"),
    ("empty item", |r| r.addresses = "10.1.1.5;;10.1.1.6".into(), "address 2 \"\" is empty"),
    ("empty first item", |r| r.addresses = ";10.1.1.5".into(), "address 1 \"\" is empty"),
    ("two at the end", |r| r.addresses = "10.1.1.5;;".into(), "address 2 \"\" is empty"),
    ("only a semicolon", |r| r.masks = ";".into(), "mask 1 \"\" is empty"),
    ("blank inside", |r| r.addresses = "10.1. 1.5".into(), "address 1"),
    ("comma", |r| r.addresses = "10.1.1.5,10.1.1.6".into(), "address 1"),
    ("no mask", |r| r.masks = String::new(), "1 addresses have 0 masks"),
    ("two masks", |r| r.masks = "255.0.0.0;255.0.0.0".into(), "1 addresses have 2 masks"),
    ("an address without mask", |r| r.addresses = "10.1.1.5;10.1.1.6".into(), "2 addresses have 1 masks"),
    (
        "the same twice",
        |r| {
            r.addresses = "10.1.1.5;10.1.1.5".into();
            r.masks = "255.255.255.0;255.255.0.0".into();
        },
        "address 2 \"10.1.1.5\" is there twice",
    ),
    ("gateway twice", |r| r.gateways = "10.1.1.1;10.1.1.1".into(), "gateway 2"),
    ("name server twice", |r| r.name_servers = "fd00::53;FD00:0::53".into(), "name server 2"),
    // Families.
    ("an unknown family", |r| r.address_family = 0x81, "the address families 0x81"),
    // Addresses.
    ("everything", |r| (r.addresses, r.masks) = ("0.0.0.0".into(), "0.0.0.0".into()), "address 1"),
    ("with prefix", |r| r.addresses = "0.0.0.0/0".into(), "address 1 \"0.0.0.0/0\" is no IP address"),
    ("with its own prefix", |r| r.addresses = "10.1.1.5/24".into(), "address 1"),
    ("this network", |r| r.addresses = "0.1.1.5".into(), "address 1"),
    ("loopback", |r| r.addresses = "127.0.0.1".into(), "address 1 \"127.0.0.1\" is a loopback address"),
    ("multicast", |r| r.addresses = "224.0.0.1".into(), "address 1 \"224.0.0.1\" is a multicast address"),
    ("reserved", |r| r.addresses = "240.0.0.1".into(), "address 1"),
    ("broadcast", |r| r.addresses = "255.255.255.255".into(), "address 1"),
    ("the network", |r| r.addresses = "10.1.1.0".into(), "address 1 \"10.1.1.0\" is the first or the last"),
    ("its broadcast", |r| r.addresses = "10.1.1.255".into(), "address 1"),
    ("leading zero", |r| r.addresses = "010.1.1.5".into(), "address 1"),
    ("three numbers", |r| r.addresses = "10.1.5".into(), "address 1"),
    ("one number", |r| r.addresses = "167837957".into(), "address 1"),
    ("hexadecimal", |r| r.addresses = "0x0a010105".into(), "address 1"),
    ("number too large", |r| r.addresses = "10.1.1.256".into(), "address 1"),
    // Masks.
    (
        "holes in the mask",
        |r| r.masks = "255.0.255.0".into(),
        "mask 1 \"255.0.255.0\" has ones behind a zero",
    ),
    ("mask of zero", |r| r.masks = "0.0.0.0".into(), "mask 1 \"0.0.0.0\" leaves no bit"),
    ("wildcard mask", |r| r.masks = "0.0.0.255".into(), "mask 1"),
    ("length as IPv4 mask", |r| r.masks = "24".into(), "mask 1"),
    ("hexadecimal mask", |r| r.masks = "0xffffff00".into(), "mask 1"),
    // Gateways and name servers.
    ("far gateway", |r| r.gateways = "10.1.2.1".into(), "gateway 1 \"10.1.2.1\" is in the network of none"),
    (
        "its own gateway",
        |r| r.gateways = "10.1.1.5".into(),
        "gateway 1 \"10.1.1.5\" is an address of this guest",
    ),
    ("loopback gateway", |r| r.gateways = "127.0.0.1".into(), "gateway 1"),
    ("multicast gateway", |r| r.gateways = "224.0.0.2".into(), "gateway 1"),
    ("unspecified gateway", |r| r.gateways = "0.0.0.0".into(), "gateway 1"),
    ("broadcast gateway", |r| r.gateways = "10.1.1.255".into(), "gateway 1"),
    ("gateway of another family", |r| r.gateways = "fe80::1".into(), "gateway 1"),
    ("unspecified name server", |r| r.name_servers = "0.0.0.0".into(), "name server 1"),
    ("multicast name server", |r| r.name_servers = "ff02::fb".into(), "name server 1"),
    ("mapped name server", |r| r.name_servers = "::ffff:10.1.1.1".into(), "name server 1"),
    ("scope of a name server", |r| r.name_servers = "fe80::1%hn0".into(), "name server 1"),
];

const HOSTILE_IPV6: &[Row] = &[
    ("unspecified", |r| r.addresses = "::".into(), "address 1 \"::\" is the unspecified address"),
    ("loopback", |r| r.addresses = "::1".into(), "address 1 \"::1\" is a loopback address"),
    ("multicast", |r| r.addresses = "ff02::1".into(), "address 1"),
    (
        "mapped",
        |r| r.addresses = "::ffff:10.1.1.5".into(),
        "address 1 \"::ffff:10.1.1.5\" is an IPv4 address",
    ),
    ("compatible", |r| r.addresses = "::10.1.1.5".into(), "address 1"),
    ("zone", |r| r.addresses = "fe80::5%hn0".into(), "address 1 \"fe80::5%hn0\" is no IP address"),
    ("zone with a command", |r| r.addresses = "fe80::5%$(id)".into(), "address 1"),
    ("brackets", |r| r.addresses = "[fd00::5]".into(), "address 1"),
    ("two gaps", |r| r.addresses = "fd00::1::5".into(), "address 1"),
    ("with prefix", |r| r.addresses = "fd00::5/64".into(), "address 1"),
    ("length too long", |r| r.masks = "129".into(), "mask 1 \"129\" is no IPv6 prefix length"),
    ("length of zero", |r| r.masks = "0".into(), "mask 1 \"0\" leaves no bit"),
    ("no length", |r| r.masks = "/".into(), "mask 1"),
    ("two slashes", |r| r.masks = "//64".into(), "mask 1"),
    ("sign", |r| r.masks = "+64".into(), "mask 1"),
    ("number too large", |r| r.masks = "99999999999999999999".into(), "mask 1"),
    ("IPv4 mask", |r| r.masks = "255.255.255.0".into(), "mask 1"),
    ("IPv6 mask", |r| r.masks = "ffff:ffff:ffff:ffff::".into(), "mask 1"),
    (
        "the same in another spelling",
        |r| (r.addresses, r.masks) = ("fd00::5;FD00:0:0::5".into(), "64;64".into()),
        "address 2",
    ),
    ("far gateway", |r| r.gateways = "fd00:0:0:1::1".into(), "gateway 1"),
    ("IPv4 gateway", |r| r.gateways = "10.1.1.1".into(), "gateway 1"),
    ("zone of a gateway", |r| r.gateways = "fe80::1%hn0".into(), "gateway 1"),
    ("unspecified gateway", |r| r.gateways = "::".into(), "gateway 1"),
];

#[test]
fn malformed_requests_are_refused_with_the_wrong_item() {
    assert!(HOSTILE.len() + HOSTILE_IPV6.len() >= 60);
    for (base, rows) in [(good(), HOSTILE), (ipv6(), HOSTILE_IPV6)] {
        for (what, spoil, said) in rows {
            let mut request = base.clone();
            spoil(&mut request);
            let error = parse(&request).expect_err(what);
            let line = error.to_string();
            assert_eq!(error.code(), Code::InvalidArgument, "{what}");
            assert!(line.starts_with(said), "{what}: {line}");
            assert!(line.len() < 300 && !line.contains(char::is_control), "{what}: {line:?}");
        }
    }
}

/// Unusual requests that hosts send or administrators make.
// contract K36, K39
#[test]
fn unusual_but_valid_requests_are_accepted() {
    let rows: &[Row] = &[
        ("one more semicolon", |r| r.addresses = "10.1.1.5;".into(), "10.1.1.5/24"),
        ("blanks around", |r| r.addresses = " \t10.1.1.5 ;".into(), "10.1.1.5/24"),
        ("a network of two", |r| r.masks = "255.255.255.254".into(), "10.1.1.5/31"),
        ("a network of one", |r| r.masks = "255.255.255.255".into(), "10.1.1.5/32"),
        ("link-local IPv4", |r| r.addresses = "169.254.3.4".into(), "169.254.3.4/24"),
        ("gateway at the end of another network", |r| r.masks = "255.255.0.0".into(), "10.1.1.5/16"),
    ];
    for (what, change, wanted) in rows {
        let mut request = good();
        change(&mut request);
        assert_eq!(texts(&parsed(&request).addresses), *wanted, "{what}");
    }
    let request = NetworkRequest { addresses: "fe80::5".into(), masks: "/64".into(), ..ipv6() };
    assert_eq!(texts(&parsed(&request).addresses), "fe80::5/64");
    let request = NetworkRequest { masks: "128".into(), gateways: "fe80::1".into(), ..ipv6() };
    assert_eq!(texts(&parsed(&request).gateways), "fe80::1");
}

#[test]
fn family_bits_that_do_not_fit_the_addresses_are_accepted() {
    for family in 0..=3 {
        let request = NetworkRequest { address_family: family, ..good() };
        assert!(matches!(parse(&request).unwrap().method, Method::Static(_)), "{family}");
    }
}

#[test]
fn family_bits_are_compared_with_the_addresses() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let ipv4 = addresses(&["10.1.1.5/24", "10.1.2.5/24"]);
    let both = addresses(&["10.1.1.5/24", "fd00::5/64"]);
    assert_eq!([0, 1, 2, 3].map(|bits| other_families(bits, &ipv4)), [Some(1), None, Some(1), Some(1)]);
    assert_eq!([0, 1, 2, 3].map(|bits| other_families(bits, &both)), [Some(3), Some(3), Some(3), None]);
    assert_eq!(other_families(3, &both[1..]), Some(2));
}
