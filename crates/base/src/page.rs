//! Opaque paging: a token says where the next page starts; callers never look inside, so that it may change.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Token of the next page; null on the last.
    pub next_page: Option<String>,
}

/// How many items a page holds: 1 to 1000, 100 unless asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(u32);

impl PageLimit {
    pub const MAX: u32 = 1000;

    /// # Errors
    /// Invalid outside 1..=1000.
    pub fn new(limit: Option<u32>) -> Result<Self> {
        match limit.unwrap_or(100) {
            n @ 1..=Self::MAX => Ok(Self(n)),
            _ => Err(Error::invalid_field("/limit", "limit is between 1 and 1000")),
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// Cuts `rows`, read with one row more than the limit, into a page.
    pub fn page<T>(self, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let limit = self.0 as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_page = if more { rows.last().map(|row| PageToken::encode(&key(row))) } else { None };
        Page { items: rows, next_page }
    }
}

/// The key after which the next page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken;

impl PageToken {
    const PREFIX: &'static str = "1:";

    pub fn encode(key: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{key}", Self::PREFIX))
    }

    /// # Errors
    /// Invalid when it is no token of ours.
    pub fn decode(token: Option<&str>) -> Result<String> {
        let Some(token) = token else { return Ok(String::new()) };
        let bad = || Error::invalid_field("/page", "not a page token; start again without one");
        if token.len() > 512 {
            return Err(bad());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        // PostgreSQL refuses NUL in text; no key of ours holds a control character.
        let key = text
            .strip_prefix(Self::PREFIX)
            .filter(|key| !key.chars().any(char::is_control))
            .ok_or_else(bad)?;
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_names_the_next_and_the_last_does_not() {
        let limit = PageLimit::new(Some(2)).unwrap();
        let page = limit.page(vec![1, 2, 3], ToString::to_string);
        assert_eq!(page.items, [1, 2]);
        assert_eq!(PageToken::decode(page.next_page.as_deref()).unwrap(), "2");
        assert_eq!(limit.page(vec![1, 2], ToString::to_string).next_page, None);
        for bad in ["x", "####", &URL_SAFE_NO_PAD.encode("1:\0")] {
            assert!(PageToken::decode(Some(bad)).is_err());
        }
    }
}
