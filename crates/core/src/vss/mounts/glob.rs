//! Patterns of mount points, as the configuration has them. Matching takes time proportional to pattern times
//! path, whatever the pattern is; no pattern can make it slow.

use serde::Deserialize;

/// The longest pattern, in bytes: MNAMELEN of sys/mount.h, the longest mount point.
const MAX_LENGTH: usize = 1024;

/// A pattern that must match a whole mount point. `?` is one character and `*` any number of them, both
/// without `/`. `**` is any number of characters with `/`. Every other character stands for itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Glob(String);

/// A text that cannot match any mount point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pattern of mount points must begin with / or * and have at most 1024 bytes")]
pub struct BadGlob;

impl TryFrom<String> for Glob {
    type Error = BadGlob;

    fn try_from(text: String) -> Result<Self, BadGlob> {
        if text.starts_with(['/', '*']) && text.len() <= MAX_LENGTH { Ok(Self(text)) } else { Err(BadGlob) }
    }
}

impl Glob {
    /// The pattern as it is written in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        // reached[i]: the part of the pattern read so far matches the first i bytes. Comparing bytes is
        // enough: only `?` has to know characters, and it skips continuation bytes.
        let path = path.as_bytes();
        let mut reached = vec![false; path.len() + 1];
        reached[0] = true;
        let mut rest = self.0.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if *first == b'*' {
                let across = rest.first() == Some(&b'*');
                rest = rest.strip_prefix(b"*").unwrap_or(rest);
                spread(&mut reached, path, across);
            } else {
                advance(&mut reached, path, *first);
            }
        }
        reached.last().copied().unwrap_or(false)
    }
}

/// Extends every position reached by any number of bytes.
fn spread(reached: &mut [bool], path: &[u8], across_slashes: bool) {
    for (index, byte) in path.iter().enumerate() {
        if reached[index] && (across_slashes || *byte != b'/') {
            reached[index + 1] = true;
        }
    }
}

/// Extends every position reached by one character.
fn advance(reached: &mut [bool], path: &[u8], wanted: u8) {
    let before = reached.to_vec();
    reached.fill(false);
    for (index, byte) in path.iter().enumerate().filter(|(index, _)| before[*index]) {
        if wanted == b'?' && *byte != b'/' {
            let rest = &path[index + 1..];
            let continuation = rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
            reached[index + 1 + continuation] = true;
        } else if wanted != b'?' && wanted == *byte {
            reached[index + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, wanted) in [
            ("/mnt", "/mnt", true),
            ("/mnt", "/mnt2", false),
            ("/mnt", "/mnt/a", false),
            ("/mnt/*", "/mnt/a", true),
            ("/mnt/*", "/mnt/", true),
            ("/mnt/*", "/mnt/a/b", false),
            ("/mnt/**", "/mnt/a/b", true),
            ("**/proc", "/jails/www/proc", true),
            ("**/proc", "/jails/www/procx", false),
            ("/jails/*/dev", "/jails/www/dev", true),
            ("/jails/*/dev", "/jails/a/b/dev", false),
            ("/**/b*/c", "/a/x/bb/c", true),
            ("/**/b*/c", "/b/x/c", false),
            ("/disk?", "/disk7", true),
            ("/disk?", "/diské", true),
            ("/disk?", "/disk", false),
            ("/disk?", "/disk/", false),
            ("/a[b]", "/a[b]", true),
            ("*", "/", false),
            ("**", "/", true),
        ] {
            let glob = Glob::try_from(pattern.to_owned()).unwrap();
            assert_eq!(glob.matches(path), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn a_long_pattern_of_stars_is_fast() {
        let glob = Glob::try_from("*a".repeat(512)).unwrap();
        assert!(!glob.matches(&"a".repeat(1023)[..511]));
    }

    #[test]
    fn patterns_that_match_no_mount_point_are_refused() {
        assert!(Glob::try_from("mnt".to_owned()).is_err());
        assert!(Glob::try_from(String::new()).is_err());
        assert!(Glob::try_from("/".repeat(1025)).is_err());
    }
}
