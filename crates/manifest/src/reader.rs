//! Walks a parsed TOML table and collects what is wrong, all of it in one pass.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Severity, position, quoted};

/// More than this many problems help nobody.
const MOST: usize = 50;

/// Collects problems of one text.
pub struct Reader<'t> {
    pub text: &'t str,
    pub file: &'t str,
    pub problems: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    /// Bytes of the named files that were taken so far.
    pub taken: usize,
}

/// A value with its place.
pub type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> Reader<'t> {
    pub fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.problems.len() < MOST {
            let problem = self.diagnostic(Severity::Error, code, span, &message.into(), &help.into());
            self.problems.push(problem);
        }
    }

    /// Enough has been found; a check that is expensive may stop.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= MOST
    }

    /// An error that belongs to two places.
    pub fn clash(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
        other: (Range<usize>, &str),
    ) {
        if self.problems.len() < MOST {
            let mut problem = self.diagnostic(Severity::Error, code, span, &message.into(), &help.into());
            problem.related = Some((other.0, other.1.to_owned()));
            self.problems.push(problem);
        }
    }

    pub fn warn(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.warnings.len() < MOST {
            let warning = self.diagnostic(Severity::Warning, code, span, &message.into(), &help.into());
            self.warnings.push(warning);
        }
    }

    fn diagnostic(
        &self,
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: &str,
        help: &str,
    ) -> Diagnostic {
        let (line, column) = position(self.text, span.start);
        Diagnostic {
            severity,
            code,
            message: quoted(message),
            help: quoted(help),
            file: quoted(self.file),
            line,
            column,
            span,
            related: None,
        }
    }

    /// Refuses keys that nobody knows, and says which one was meant.
    pub fn keys(&mut self, table: &DeTable<'t>, what: &str, known: &[&str]) {
        for key in table.keys() {
            let name: &DeString<'_> = key.get_ref();
            if !known.contains(&name.as_ref()) && !self.is_full() {
                let help = match closest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{what} knows {}", known.join(", ")),
                };
                self.error("unknown_key", key.span(), format!("{what} has no key `{name}`"), help);
            }
        }
    }

    pub fn wrong_type(&mut self, value: &Value<'t>, key: &str, wanted: &str, example: &str) {
        let found = kind(value);
        let help = format!("write {key} = {example}");
        self.error("wrong_type", value.span(), format!("`{key}` is {found}; it must be {wanted}"), help);
    }

    fn wrong_entry(&mut self, value: &Value<'t>, key: &str, example: &str) {
        let message = format!("an entry of `{key}` is {}; it must be a string", kind(value));
        self.error("wrong_type", value.span(), message, format!("write {key} = {example}"));
    }

    pub fn table<'v>(&mut self, value: &'v Value<'t>, key: &str, example: &str) -> Option<&'v DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(value, key, "a table", example);
        }
        table
    }

    pub fn string<'v>(
        &mut self,
        table: &'v DeTable<'t>,
        key: &str,
        example: &str,
    ) -> Option<(&'v str, Range<usize>)> {
        let value = table.get(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some((text, value.span()));
        }
        self.wrong_type(value, key, "a string", example);
        None
    }

    pub fn integer(
        &mut self,
        table: &DeTable<'t>,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = table.get(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(value, key, "a whole number", &range.start().to_string());
            return None;
        };
        let parsed =
            i128::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| u64::try_from(n).ok());
        let found = parsed.filter(|n| range.contains(n));
        if found.is_none() {
            let (low, high) = (range.start(), range.end());
            let shown = self.text.get(value.span()).unwrap_or("it").to_owned();
            self.error(
                "out_of_range",
                value.span(),
                format!("`{key}` is {shown}; it must be between {low} and {high}"),
                format!("write {key} = {low}, or more, up to {high}"),
            );
        }
        found
    }

    pub fn boolean(&mut self, table: &DeTable<'t>, key: &str) -> Option<bool> {
        let value = table.get(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(value, key, "true or false", "true");
        }
        found
    }

    pub fn array<'v>(&mut self, table: &'v DeTable<'t>, key: &str, example: &str) -> Vec<&'v Value<'t>> {
        let Some(value) = table.get(key) else { return Vec::new() };
        if let Some(array) = value.get_ref().as_array() {
            return array.iter().collect();
        }
        self.wrong_type(value, key, "an array", example);
        Vec::new()
    }

    pub fn strings(&mut self, table: &DeTable<'t>, key: &str, example: &str) -> Vec<(String, Range<usize>)> {
        let mut all = Vec::new();
        for value in self.array(table, key, example) {
            match value.get_ref().as_str() {
                Some(text) => all.push((text.to_owned(), value.span())),
                None => self.wrong_entry(value, key, example),
            }
        }
        all
    }

    pub fn one_of(&mut self, table: &DeTable<'t>, key: &str, known: &[&str]) -> Option<String> {
        let example = format!("{:?}", known.first().unwrap_or(&""));
        let (text, span) = self.string(table, key, &example)?;
        if known.contains(&text) {
            return Some(text.to_owned());
        }
        let all: Vec<String> = known.iter().map(|one| format!("{one:?}")).collect();
        self.error(
            "unknown_value",
            span,
            format!("`{key}` is {text:?}"),
            format!("it must be {}", all.join(" or ")),
        );
        None
    }

    /// A quantity through `parse`, within a range.
    pub fn quantity<T: PartialOrd + Copy>(
        &mut self,
        table: &DeTable<'t>,
        key: &str,
        example: &str,
        parse: fn(&str) -> Result<T, String>,
        range: (T, T, &str),
    ) -> Option<T> {
        let (text, span) = self.string(table, key, &format!("{example:?}"))?;
        match parse(text) {
            Ok(value) if value >= range.0 && value <= range.1 => Some(value),
            Ok(_) => {
                let message = format!("`{key}` is {text:?}; it must be {}", range.2);
                self.error("out_of_range", span, message, format!("write {key} = {example:?}"));
                None
            }
            Err(message) => {
                self.error("bad_quantity", span, message, format!("write {key} = {example:?}"));
                None
            }
        }
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The known name that was probably meant.
pub fn closest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // The distance costs the product of both lengths, and both come from input; no name is longer than a label.
    if name.len() > 64 {
        return None;
    }
    known
        .filter(|one| one.len() <= 64)
        .take(10_000)
        .map(|one| (strsim::damerau_levenshtein(name, one), one))
        .filter(|(distance, one)| {
            *distance <= (one.len() / 3).max(1) || one.starts_with(name) && name.len() >= 3
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one)
}
