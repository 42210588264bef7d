//! What must not stand in anything that is told: it is taken out of what git says, however it is cut.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// What stands in its place.
const STARS: &str = "***";

#[derive(Default)]
pub(super) struct Hidden(Vec<Zeroizing<String>>);

impl Hidden {
    /// As it is, and as a URL has it.
    pub fn add(&mut self, value: &str) {
        if value.is_empty() {
            return;
        }
        let mut upper = Zeroizing::new(String::with_capacity(3 * value.len()));
        let mut lower = Zeroizing::new(String::with_capacity(3 * value.len()));
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                upper.push(char::from(byte));
                lower.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(*upper, "%{byte:02X}");
                let _ = write!(*lower, "%{byte:02x}");
            }
        }
        self.0.push(Zeroizing::new(value.to_owned()));
        self.0.push(upper);
        self.0.push(lower);
        // One that is in another is no more than a part of it.
        self.0.sort_by_key(|one| std::cmp::Reverse(one.len()));
    }

    /// What was said, without it. `whole`: it was not cut off, so that its end is no beginning of what must not stand there.
    pub fn text(&self, said: &[u8], whole: bool) -> String {
        let mut text: String = String::from_utf8_lossy(said).chars().filter(|c| *c != '\0').collect();
        if !whole {
            let longest = self.0.iter().map(|one| one.len()).max().unwrap_or(0);
            let mut end = text.len().saturating_sub(longest);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        for one in &self.0 {
            if text.contains(one.as_str()) {
                text = text.replace(one.as_str(), STARS);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_left() {
        let mut hidden = Hidden::default();
        assert_eq!(hidden.text("as it is".as_bytes(), true), "as it is");
        hidden.add("to/ken ü");
        hidden.add("token");
        for (said, whole, wanted) in [
            ("x to/ken ü y token z", true, "x *** y *** z"),
            ("https://git:to%2Fken%20%C3%BC@h to%2fken%20%c3%bc", true, "https://git:***@h ***"),
            ("to\0ken", true, "***"),
            // It was cut within the value; as much as the longest goes.
            ("a message, and then the beginning: to/ken", false, "a message, and then the"),
        ] {
            assert_eq!(hidden.text(said.as_bytes(), whole).trim(), wanted, "{said}");
        }
    }
}
