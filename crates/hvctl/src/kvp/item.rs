//! One item of a pool as JSON, and the limits of keys and values. It reads and writes no file.

use hv_core::kvp::pool::Record;
use hv_core::kvp::{KvpKey, KvpValue};
use serde::{Deserialize, Serialize};

/// The UTF-16 units that the kernel passes to the host: contract K18.
const KEY_UNITS: usize = 254;
const VALUE_UNITS: usize = 1022;
/// The bytes of a key in a record, without the NUL.
const KEY_BYTES: usize = 511;
const VALUE_BYTES: usize = 2047;

/// A key and its value. Bytes that are not UTF-8 are written as hexadecimal digits, so export and import lose
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

fn split(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())),
    }
}

fn joined(text: Option<&String>, hex: Option<&String>) -> Option<Vec<u8>> {
    match (text, hex) {
        (Some(text), None) => Some(text.clone().into_bytes()),
        (None, Some(hex)) => {
            let digits = hex.as_bytes().as_chunks::<2>();
            let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            digits.1.is_empty().then(|| digits.0.iter().map(byte).collect())?
        }
        _ => None,
    }
}

impl Item {
    pub(crate) fn of(record: &Record) -> Self {
        let ((key, key_hex), (value, value_hex)) = (split(&record.key), split(&record.value));
        Self { key, key_hex, value, value_hex }
    }

    pub(crate) fn of_text(key: &str, value: &str) -> Self {
        Self { key: Some(key.to_owned()), key_hex: None, value: Some(value.to_owned()), value_hex: None }
    }

    /// The key as shown to users.
    pub(crate) fn key_text(&self) -> String {
        shown(self.key.as_ref(), self.key_hex.as_ref())
    }

    /// The value as shown to users.
    pub(crate) fn value_text(&self) -> String {
        shown(self.value.as_ref(), self.value_hex.as_ref())
    }

    pub(crate) fn is_called(&self, key: &str) -> bool {
        self.key.as_deref() == Some(key)
    }

    /// The key and value for a record.
    ///
    /// # Errors
    /// The problem, with its numbers.
    pub(crate) fn checked(&self) -> Result<(KvpKey, KvpValue), String> {
        let key = joined(self.key.as_ref(), self.key_hex.as_ref())
            .ok_or("there is no key, or it is there twice")?;
        let value = joined(self.value.as_ref(), self.value_hex.as_ref())
            .ok_or("there is no value, or it is there twice")?;
        Ok((checked_key(&key)?, checked_value(&value)?))
    }
}

fn shown(text: Option<&String>, hex: Option<&String>) -> String {
    let bytes = joined(text, hex).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks that the host would get this key complete.
///
/// # Errors
/// The problem, with its numbers.
pub(crate) fn checked_key(key: &[u8]) -> Result<KvpKey, String> {
    if key.is_empty() {
        return Err("a key must not be empty".to_owned());
    }
    check("key", key, KEY_UNITS, KEY_BYTES)?;
    KvpKey::new(key).ok_or_else(|| "a key must not hold a NUL".to_owned())
}

/// Checks that the host would get this value complete.
///
/// # Errors
/// The problem, with its numbers.
pub(crate) fn checked_value(value: &[u8]) -> Result<KvpValue, String> {
    check("value", value, VALUE_UNITS, VALUE_BYTES)?;
    KvpValue::new(value).ok_or_else(|| "a value must not hold a NUL".to_owned())
}

fn check(what: &str, text: &[u8], most_units: usize, most_bytes: usize) -> Result<(), String> {
    let units = String::from_utf8_lossy(text).encode_utf16().count();
    if units > most_units {
        return Err(format!("the {what} has {units} UTF-16 units, the host gets at most {most_units}"));
    }
    if text.len() > most_bytes {
        return Err(format!(
            "the {what} has {} bytes of UTF-8, a record holds at most {most_bytes}",
            text.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_limits() {
        assert!(checked_key("k".repeat(254).as_bytes()).is_ok());
        let error = checked_key("k".repeat(255).as_bytes()).unwrap_err();
        assert_eq!(error, "the key has 255 UTF-16 units, the host gets at most 254");
        // Two UTF-16 units each, and four bytes.
        assert!(checked_key("😀".repeat(127).as_bytes()).is_ok());
        assert!(checked_key("😀".repeat(128).as_bytes()).unwrap_err().contains("256 UTF-16 units"));
        let error = checked_key("日".repeat(171).as_bytes()).unwrap_err();
        assert_eq!(error, "the key has 513 bytes of UTF-8, a record holds at most 511");
        assert!(checked_value(&[b'v'; 1022]).is_ok() && checked_value(b"").is_ok());
        assert!(checked_value(&[b'v'; 1023]).unwrap_err().contains("1023 UTF-16 units"));
        assert!(checked_key(b"").is_err() && checked_key(b"a\0b").is_err() && checked_value(b"\0").is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_survive_json() {
        let record = Record { key: b"k".to_vec(), value: vec![0xff, b'v'] };
        let line = serde_json::to_string(&Item::of(&record)).unwrap();
        assert_eq!(line, r#"{"key":"k","value-hex":"ff76"}"#);
        let (key, value) = serde_json::from_str::<Item>(&line).unwrap().checked().unwrap();
        assert_eq!((key.as_bytes(), value.as_bytes()), (&record.key[..], &record.value[..]));
        for bad in [
            r#"{"key":"k"}"#,
            r#"{"key":"k","value":"v","value-hex":"00"}"#,
            r#"{"key":"k","value-hex":"f"}"#,
        ] {
            assert!(serde_json::from_str::<Item>(bad).unwrap().checked().is_err(), "{bad}");
        }
    }
}
