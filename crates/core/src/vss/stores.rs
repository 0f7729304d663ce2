//! Finds out which file systems are stored in files of others, and which partition is the EFI one. It is
//! given GEOM's configuration as text, the mount table and the vdevs of the pools; it opens no device.
//!
//! A file system in a file must be suspended before the mount that holds the file, because its last writes go
//! through that mount. Such file systems are on md(4) devices of type vnode, also below labels, partitions
//! and geli, and in ZFS pools on files.

use std::collections::HashMap;

use super::mounts::{FsId, Mount, mount_of};

/// What lies below the mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stores {
    /// Mounts whose device is a partition of the type `efi`.
    pub efi: Vec<FsId>,
    /// Mounts in files of other mounts.
    pub held: Vec<Held>,
    /// Mounts that hold the file of a device that is open for writing and whose use is unknown.
    pub unknown: Vec<Unknown>,
}

/// A mount that is stored in a file of another mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The mount in the file.
    pub mount: FsId,
    /// The mount that the file is on.
    pub holder: FsId,
}

/// A file whose use as a device is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The mount that the file is on.
    pub holder: FsId,
    /// The device that uses the file.
    pub device: String,
}

/// GEOM's graph of devices, from sysctl kern.geom.confxml.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    geoms: Vec<Geom>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Geom {
    class: String,
    /// The ids of the providers below it.
    consumes: Vec<String>,
    providers: Vec<Provider>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Provider {
    id: String,
    name: String,
    aliases: Vec<String>,
    /// Whether it is open for writing.
    written: bool,
    /// `type` of its configuration, such as `efi` of a partition or `vnode` of an md(4).
    kind: String,
    file: String,
}

impl Graph {
    /// Parses the text of kern.geom.confxml (`g_conf_specific()` of geom/geom_dump.c). Parts that are not
    /// understood are left out.
    #[must_use]
    pub fn parse(xml: &str) -> Self {
        let mut reader = Reader::default();
        for tag in Tags(xml) {
            reader.take(tag);
        }
        Self { geoms: reader.geoms }
    }

    fn provider(&self, name: &str) -> Option<(&Geom, &Provider)> {
        let named = |p: &&Provider| p.name == name || p.aliases.iter().any(|alias| alias == name);
        self.geoms.iter().find_map(|geom| Some((geom, geom.providers.iter().find(named)?)))
    }

    fn by_id(&self) -> HashMap<&str, (&Geom, &Provider)> {
        let all = self.geoms.iter().flat_map(|geom| geom.providers.iter().map(move |p| (geom, p)));
        all.map(|(geom, provider)| (provider.id.as_str(), (geom, provider))).collect()
    }

    /// All geoms below the device `/dev/NAME`, its own first.
    fn below(&self, from: &str) -> Vec<(&Geom, &Provider)> {
        let ids = self.by_id();
        let mut found: Vec<(&Geom, &Provider)> =
            from.strip_prefix("/dev/").and_then(|name| self.provider(name)).into_iter().collect();
        let mut next = 0;
        while let Some((geom, _)) = found.get(next).copied() {
            next += 1;
            for (geom, provider) in geom.consumes.iter().filter_map(|id| ids.get(id.as_str()).copied()) {
                if !found.iter().any(|(_, known)| known.id == provider.id) {
                    found.push((geom, provider));
                }
            }
        }
        found
    }

    /// Whether the device is a partition of the type `efi`, or a label of one.
    fn is_efi(&self, from: &str) -> bool {
        let below = self.below(from);
        let own =
            below.iter().take_while(|(geom, _)| matches!(geom.class.as_str(), "PART" | "LABEL" | "DEV"));
        let mut partitions = own.filter(|(geom, _)| geom.class == "PART");
        partitions.next().is_some_and(|(_, provider)| provider.kind == "efi")
    }

    fn files(&self) -> impl Iterator<Item = &Provider> {
        let md = self.geoms.iter().filter(|geom| geom.class == "MD");
        md.flat_map(|geom| &geom.providers).filter(|p| p.kind == "vnode" && !p.file.is_empty())
    }
}

/// Finds what lies below the mounts of `table`. `pool_files` are the vdevs of ZFS pools with the name of the
/// pool; `locate` says on which mounts a file may be.
#[must_use]
pub fn find(
    graph: &Graph,
    table: &[Mount],
    pool_vdevs: &[(String, String)],
    locate: impl Fn(&str) -> Vec<FsId>,
) -> Stores {
    let mut stores = Stores::default();
    stores.efi.extend(table.iter().filter(|mount| graph.is_efi(&mount.from)).map(|mount| mount.id));
    for device in graph.files().filter(|device| device.written) {
        let carried: Vec<FsId> = table
            .iter()
            .filter(|mount| sources(mount, pool_vdevs).any(|from| lies_on(graph, from, device)))
            .map(|mount| mount.id)
            .collect();
        for holder in locate(&device.file) {
            stores.held.extend(carried.iter().map(|mount| Held { mount: *mount, holder }));
            if carried.is_empty() {
                stores.unknown.push(Unknown { holder, device: device.name.clone() });
            }
        }
    }
    for (pool, file) in pool_vdevs.iter().filter(|(_, vdev)| !vdev.starts_with("/dev/")) {
        let datasets = table.iter().filter(|mount| is_of_pool(mount, pool)).map(|mount| mount.id);
        let datasets: Vec<FsId> = datasets.collect();
        for holder in locate(file) {
            stores.held.extend(datasets.iter().map(|mount| Held { mount: *mount, holder }));
            if datasets.is_empty() {
                stores.unknown.push(Unknown { holder, device: format!("pool {pool}") });
            }
        }
    }
    stores.held.retain(|held| held.mount != held.holder);
    stores
}

/// The devices of a mount.
fn sources<'a>(mount: &'a Mount, vdevs: &'a [(String, String)]) -> impl Iterator<Item = &'a str> {
    let of_pool = vdevs.iter().filter(|(pool, _)| is_of_pool(mount, pool)).map(|(_, vdev)| vdev.as_str());
    std::iter::once(mount.from.as_str()).chain(of_pool)
}

fn lies_on(graph: &Graph, from: &str, device: &Provider) -> bool {
    graph.below(from).iter().any(|(_, provider)| provider.id == device.id)
}

/// Whether a mount is a dataset of the pool, or a UFS on one of its volumes.
fn is_of_pool(mount: &Mount, pool: &str) -> bool {
    let name = if mount.fs_type == "zfs" {
        Some(mount.from.as_str())
    } else {
        mount.from.strip_prefix("/dev/zvol/")
    };
    name.is_some_and(|name| name.split(['/', '@']).next() == Some(pool))
}

/// The mount that a path lies on, by comparing names.
#[must_use]
pub fn locate_by_path(table: &[Mount], path: &str) -> Option<FsId> {
    mount_of(table, path).map(|mount| mount.id)
}

/// A tag with the text that follows it.
struct Tag<'a> {
    name: &'a str,
    attribute: &'a str,
    closes: bool,
    text: &'a str,
}

/// The tags of a text. It is enough for the output of one kernel function: no comments, no CDATA.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let (_, rest) = self.0.split_once('<')?;
        let (inside, rest) = rest.split_once('>')?;
        self.0 = rest;
        let (name, attributes) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
        let name = name.trim_end_matches('/');
        let text = rest.split('<').next().unwrap_or_default();
        let attribute = attributes.split('"').nth(1).unwrap_or_default();
        Some(Tag { name: name.trim_start_matches('/'), attribute, closes: name.starts_with('/'), text })
    }
}

#[derive(Default)]
struct Reader {
    geoms: Vec<Geom>,
    class: String,
    in_geom: bool,
    in_consumer: bool,
    in_provider: bool,
}

impl Reader {
    fn take(&mut self, tag: Tag<'_>) {
        match (tag.name, tag.closes) {
            ("geom", closes) if !self.in_consumer && !self.in_provider => {
                self.in_geom = !closes;
                if !closes {
                    self.geoms.push(Geom { class: self.class.clone(), ..Geom::default() });
                }
            }
            ("consumer", closes) => self.in_consumer = !closes,
            ("provider", true) => self.in_provider = false,
            ("provider", false) if self.in_consumer => {
                if let Some(geom) = self.geoms.last_mut() {
                    geom.consumes.push(tag.attribute.to_owned());
                }
            }
            ("provider", false) => {
                self.in_provider = true;
                if let Some(geom) = self.geoms.last_mut() {
                    geom.providers.push(Provider { id: tag.attribute.to_owned(), ..Provider::default() });
                }
            }
            ("name", false) if !self.in_geom => self.class = unescape(tag.text),
            (_, false) if self.in_provider => self.fact_of_provider(&tag),
            _ => {}
        }
    }

    fn fact_of_provider(&mut self, tag: &Tag<'_>) {
        let Some(provider) = self.geoms.last_mut().and_then(|geom| geom.providers.last_mut()) else { return };
        let text = unescape(tag.text);
        match tag.name {
            "name" => provider.name = text,
            "alias" => provider.aliases.push(text),
            "mode" => provider.written = is_written(&text),
            "type" => provider.kind = text,
            "file" => provider.file = text,
            _ => {}
        }
    }
}

/// Whether a mode like `r1w1e2` has a writer.
fn is_written(mode: &str) -> bool {
    mode.split_once('w').and_then(|(_, rest)| rest.split('e').next()).is_some_and(|count| count != "0")
}

/// Decodes `&#xHH;`, which `g_conf_cat_escaped()` writes for each byte that it escapes.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("&#x") {
        bytes.extend_from_slice(before.as_bytes());
        match after.split_once(';').map(|(hex, after)| (u8::from_str_radix(hex, 16), after)) {
            Some((Ok(byte), after)) => {
                bytes.push(byte);
                rest = after;
            }
            _ => {
                bytes.extend_from_slice(b"&#x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
