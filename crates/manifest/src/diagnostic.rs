//! Problems as data, and as a person reads them: file, line, column, the offending text underlined, what would be right.

use std::fmt::Write as _;
use std::ops::Range;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// One problem at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Machine-readable, as `unknown_key`.
    pub code: &'static str,
    pub message: String,
    /// What would be right.
    pub help: String,
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// Byte range in the text.
    pub span: Range<usize>,
    /// Another place that belongs to it, with a word on it.
    pub related: Option<(Range<usize>, String)>,
}

/// Line and column (1-based, in characters) of a byte offset. A byte order mark is no character that an editor shows.
pub(crate) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..floor(text, offset)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or("").trim_start_matches('\u{feff}').chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The nearest character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// All problems as text. `colour` adds ANSI colours.
pub fn render(diagnostics: &[Diagnostic], text: &str, colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        render_one(&mut out, diagnostic, text, colour);
    }
    out
}

fn render_one(out: &mut String, diagnostic: &Diagnostic, text: &str, colour: bool) {
    let paint = |code: &str, what: &str| {
        if colour { format!("\x1b[{code}m{what}\x1b[0m") } else { what.to_owned() }
    };
    let (word, code) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{}: {}", paint(code, word), paint("1", &diagnostic.message));
    let _ = writeln!(out, "  --> {}:{}:{}", diagnostic.file, diagnostic.line, diagnostic.column);
    underline(out, text, &diagnostic.span, "^", "", &|what| paint(code, what));
    if let Some((span, label)) = &diagnostic.related {
        underline(out, text, span, "-", label, &|what| paint("1;34", what));
    }
    if !diagnostic.help.is_empty() {
        let _ = writeln!(out, "  {} {}", paint("1;36", "help:"), diagnostic.help);
    }
    out.push('\n');
}

fn underline(
    out: &mut String,
    text: &str,
    span: &Range<usize>,
    mark: &str,
    label: &str,
    paint: &dyn Fn(&str) -> String,
) {
    let start = floor(text, span.start);
    let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| start + at);
    let end = floor(text, span.end).clamp(start, line_end);
    let (line, _) = position(text, start);
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let before = tail(&shown(text.get(line_start..start).unwrap_or("")), BEFORE);
    let marked = head(&shown(text.get(start..end).unwrap_or("")), AFTER);
    let after = head(&shown(text.get(end..line_end).unwrap_or("")), AFTER);
    let marks = paint(&mark.repeat(marked.width().max(1)));
    let pad = " ".repeat(before.width());
    let _ = writeln!(out, " {margin} |");
    let _ = writeln!(out, "{}", format!(" {number} | {before}{marked}{after}").trim_end());
    let _ = writeln!(out, "{}", format!(" {margin} | {pad}{marks} {label}").trim_end());
}

/// Characters of a line that are shown before a mark, and within and after it: a line may be megabytes long.
const BEFORE: usize = 100;
const AFTER: usize = 80;
/// Characters of a message.
const MESSAGE: usize = 400;

/// Text as a terminal may be given it. A tab is as wide as the terminal likes, so it becomes four spaces and the marks stand
/// under the text; what could move the cursor or turn the direction of writing becomes a replacement character.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end_matches('\r').chars() {
        match c {
            '\t' => out.push_str("    "),
            '\u{feff}' => {}
            c if steers(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Control characters, and those that turn the direction of writing (Unicode TR 9).
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A message that quotes what was written: escaped, and no longer than a person reads.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index >= MESSAGE {
            out.push('…');
            break;
        }
        if steers(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn head(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or("")),
        None => text.to_owned(),
    }
}

fn tail(text: &str, most: usize) -> String {
    match text.char_indices().rev().nth(most) {
        Some((at, c)) => format!("…{}", text.get(at + c.len_utf8()..).unwrap_or("")),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_under_the_text_after_tabs_wide_and_combined_characters() {
        let text = "a = 1\r\n\tü漢 = \"x\"\r\n";
        let at = text.find("\"x\"").unwrap();
        let (line, column) = position(text, at);
        assert_eq!((line, column), (2, 7));
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            code: "x",
            message: "wrong".into(),
            help: "right".into(),
            file: "hafen.toml".into(),
            line,
            column,
            span: at..at + 3,
            related: None,
        };
        let shown = render(&[diagnostic], text, false);
        let expected = "error: wrong\n  --> hafen.toml:2:7\n   |\n 2 |     ü漢 = \"x\"\n   |           ^^^\n  help: right\n\n";
        assert_eq!(shown, expected);
    }
}
