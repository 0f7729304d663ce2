//! File systems in files and EFI partitions, found in a text of kern.geom.confxml. The text follows the
//! output of a FreeBSD kernel.

use super::*;
use crate::vss::fixtures::mount;

/// A disk with an EFI partition and a labelled UFS, and md(4) devices in files: md0 with a label and geli,
/// md1 with a partition table, md2 of swap space, md3 that is not open, md4 with unknown contents,
/// md5 that the loader has read from a file.
const XML: &str = r#"<mesh>
  <class id="0x1">
    <name>PART</name>
    <geom id="0x10">
      <class ref="0x1"/>
      <name>da0</name>
      <rank>2</rank>
      <config>
	<scheme>GPT</scheme>
      </config>
	<consumer id="0x11">
	  <geom ref="0x10"/>
	  <provider ref="0x20"/>
	  <mode>r2w2e3</mode>
	</consumer>
	<provider id="0x12">
	  <geom ref="0x10"/>
	  <mode>r1w1e1</mode>
	  <name>da0p1</name>
	  <config>
	    <start>40</start>
	    <type>efi</type>
	    <label>efiboot0</label>
	    <rawtype>c12a7328-f81f-11d2-ba4b-00a0c93ec93b</rawtype>
	  </config>
	</provider>
	<provider id="0x13">
	  <geom ref="0x10"/>
	  <mode>r1w1e1</mode>
	  <name>da0p2</name>
	  <config>
	    <type>freebsd-ufs</type>
	  </config>
	</provider>
    </geom>
    <geom id="0x15">
      <class ref="0x1"/>
      <name>md1</name>
	<consumer id="0x16"><geom ref="0x15"/><provider ref="0x41"/><mode>r1w1e1</mode></consumer>
	<provider id="0x17"><geom ref="0x15"/><mode>r1w1e1</mode><name>md1p1</name><config><type>freebsd-ufs</type></config></provider>
    </geom>
  </class>
  <class id="0x2">
    <name>DISK</name>
    <geom id="0x21"><class ref="0x2"/><name>da0</name>
	<provider id="0x20"><geom ref="0x21"/><mode>r2w2e3</mode><name>da0</name><alias>diskid/DISK-1</alias></provider>
    </geom>
  </class>
  <class id="0x3">
    <name>LABEL</name>
    <geom id="0x30"><class ref="0x3"/><name>da0p1</name>
	<consumer id="0x31"><geom ref="0x30"/><provider ref="0x12"/><mode>r1w1e1</mode></consumer>
	<provider id="0x32"><geom ref="0x30"/><mode>r1w1e1</mode><name>msdosfs/STICK</name></provider>
    </geom>
    <geom id="0x35"><class ref="0x3"/><name>md0</name>
	<consumer id="0x36"><geom ref="0x35"/><provider ref="0x40"/><mode>r1w1e1</mode></consumer>
	<provider id="0x37"><geom ref="0x35"/><mode>r1w1e1</mode><name>label/box</name></provider>
    </geom>
  </class>
  <class id="0x5">
    <name>ELI</name>
    <geom id="0x50"><class ref="0x5"/><name>label/box.eli</name>
	<consumer id="0x51"><geom ref="0x50"/><provider ref="0x37"/><mode>r1w1e1</mode></consumer>
	<provider id="0x52"><geom ref="0x50"/><mode>r1w1e1</mode><name>label/box.eli</name></provider>
    </geom>
  </class>
  <class id="0x4">
    <name>MD</name>
    <geom id="0x45"><class ref="0x4"/><name>md0</name>
	<provider id="0x40"><geom ref="0x45"/><mode>r1w1e1</mode><name>md0</name><config><unit>0</unit><type>vnode</type><file>/data/a&#x26;b.img</file></config></provider>
    </geom>
    <geom id="0x46"><class ref="0x4"/><name>md1</name>
	<provider id="0x41"><geom ref="0x46"/><mode>r1w1e1</mode><name>md1</name><config><type>vnode</type><file>/b.img</file></config></provider>
    </geom>
    <geom id="0x47"><class ref="0x4"/><name>md2</name>
	<provider id="0x42"><geom ref="0x47"/><mode>r1w1e1</mode><name>md2</name><config><type>swap</type></config></provider>
    </geom>
    <geom id="0x48"><class ref="0x4"/><name>md3</name>
	<provider id="0x43"><geom ref="0x48"/><mode>r1w0e0</mode><name>md3</name><config><type>vnode</type><file>/ro.iso</file></config></provider>
    </geom>
    <geom id="0x49"><class ref="0x4"/><name>md4</name>
	<provider id="0x44"><geom ref="0x49"/><mode>r1w1e0</mode><name>md4</name><config><type>vnode</type><file>/data/swap</file></config></provider>
    </geom>
    <geom id="0x4a"><class ref="0x4"/><name>md5</name>
	<provider id="0x4b"><geom ref="0x4a"/><mode>r1w1e1</mode><name>md5</name><config><type>preload</type><file>/boot/mfsroot</file></config></provider>
    </geom>
  </class>
</mesh>
"#;

fn table() -> Vec<Mount> {
    vec![
        mount("ufs", "/dev/da0p2", "/", 1),
        mount("msdosfs", "/dev/msdosfs/STICK", "/esp", 2),
        mount("ufs", "/dev/da1", "/data", 3),
        mount("ufs", "/dev/label/box.eli", "/box", 4),
        mount("ufs", "/dev/md1p1", "/data/b", 5),
        mount("ufs", "/dev/md2", "/mem", 6),
        mount("cd9660", "/dev/md3", "/cd", 7),
    ]
}

fn id(number: i32) -> FsId {
    FsId([number, 0])
}

fn held(mount: i32, holder: i32) -> Held {
    Held { mount: id(mount), holder: id(holder) }
}

#[test]
fn file_systems_in_files_are_found_below_labels_and_geli() {
    let table = table();
    let locate = |file: &str| {
        assert!(file.starts_with('/') && file != "/boot/mfsroot", "a device of memory is in no file");
        locate_by_path(&table, file).into_iter().collect()
    };
    let stores = find(&Graph::parse(XML), &table, &[], locate);
    assert_eq!(stores.held, [held(4, 3), held(5, 1)]);
    // A device that is open for writing, with no mount on it: here a swap file.
    assert_eq!(stores.unknown, [Unknown { holder: id(3), device: "md4".into() }]);
}

#[test]
fn an_efi_partition_is_known_below_a_label() {
    let table = table();
    let stores = find(&Graph::parse(XML), &table, &[], |_| Vec::new());
    assert_eq!(stores.efi, [id(2)]);
    let by_partition = [mount("msdosfs", "/dev/da0p1", "/x", 9)];
    assert_eq!(find(&Graph::parse(XML), &by_partition, &[], |_| Vec::new()).efi, [id(9)]);
    let other = [mount("msdosfs", "/dev/da0p2", "/x", 9), mount("msdosfs", "/dev/nothing", "/y", 8)];
    assert_eq!(find(&Graph::parse(XML), &other, &[], |_| Vec::new()).efi, []);
}

#[test]
fn pools_on_files_and_on_md_devices_are_found() {
    let mut table = table();
    table.push(mount("zfs", "tank/a", "/tank/a", 10));
    table.push(mount("ufs", "/dev/zvol/tank/v", "/v", 11));
    let vdevs = [
        ("tank".to_owned(), "/data/vdev0".to_owned()),
        ("tank".to_owned(), "/dev/md4".to_owned()),
        ("lost".to_owned(), "/vdev1".to_owned()),
        ("disk".to_owned(), "/dev/da7".to_owned()),
    ];
    let stores =
        find(&Graph::parse(XML), &table, &vdevs, |file| locate_by_path(&table, file).into_iter().collect());
    for expected in [held(10, 3), held(11, 3)] {
        // By its file vdev, and by the md device of the same pool.
        assert_eq!(stores.held.iter().filter(|held| **held == expected).count(), 2, "{stores:?}");
    }
    assert_eq!(stores.unknown, [Unknown { holder: id(1), device: "pool lost".into() }]);
}

#[test]
fn a_provider_has_its_own_facts_and_aliases() {
    let graph = Graph::parse(
        r#"<class id="1"><name>MD</name>
        <geom id="2"><name>md0</name>
        <provider id="3"><mode>r1w1e1</mode><name>md0</name><alias>box</alias></provider>
        <consumer id="4"><provider ref="5"/><mode>r1w0e0</mode></consumer><config><file>/x</file></config>
        </geom></class>"#,
    );
    let (geom, provider) = graph.provider("box").unwrap();
    assert_eq!((geom.class.as_str(), &geom.consumes), ("MD", &vec!["5".to_owned()]));
    assert_eq!((provider.name.as_str(), provider.written, provider.file.as_str()), ("md0", true, ""));
}

#[test]
fn a_text_without_a_graph_parses_to_an_empty_one() {
    for text in ["", "<", "<mesh>", "<geom id=\"1\"", "</provider><name>x</name>", "<provider id=\"x\">"] {
        assert_eq!(Graph::parse(text).provider("x"), None, "{text}");
    }
    assert_eq!(unescape("a&#x26;b&#xZZ;&#x"), "a&b&#xZZ;&#x");
}
