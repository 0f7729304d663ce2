//! Lists for the host: entries joined with `;`, cut after a whole entry. Pure text; the limits come from
//! `abi`.

/// A list with a size limit. It has no `;` at the end, because some hosts take that for an empty entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryList {
    text: String,
    limit: usize,
}

impl EntryList {
    /// An empty list of at most `limit` bytes. Entries are ASCII, so bytes are also UTF-16 units.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    /// Whether `entry` still fits.
    #[must_use]
    pub fn fits(&self, entry: &str) -> bool {
        let separator = usize::from(!self.text.is_empty());
        self.text.len() + separator + entry.len() <= self.limit
    }

    /// Adds `entry` if it fits and returns true. Otherwise the list is unchanged.
    pub fn push(&mut self, entry: &str) -> bool {
        let fits = self.fits(entry);
        if fits {
            if !self.text.is_empty() {
                self.text.push(';');
            }
            self.text.push_str(entry);
        }
        fits
    }

    /// A list of `entries` up to the first that does not fit.
    #[must_use]
    pub fn joined(entries: impl IntoIterator<Item = String>, limit: usize) -> String {
        let mut list = Self::new(limit);
        for entry in entries {
            if !list.push(&entry) {
                break;
            }
        }
        list.into_text()
    }

    /// The list as text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(entries: &[&str], limit: usize) -> String {
        EntryList::joined(entries.iter().map(ToString::to_string), limit)
    }

    #[test]
    fn the_list_ends_before_the_first_entry_too_long() {
        assert_eq!(joined(&[], 10), "");
        assert_eq!(joined(&["10.0.0.1"], 8), "10.0.0.1");
        assert_eq!(joined(&["10.0.0.1"], 7), "");
        assert_eq!(joined(&["10.0.0.1", "10.0.0.2"], 17), "10.0.0.1;10.0.0.2");
        assert_eq!(joined(&["10.0.0.1", "10.0.0.2"], 16), "10.0.0.1");
        assert_eq!(joined(&["a", "bbbbbb", "c"], 4), "a");
    }
}
