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

/// Line and column (1-based, in characters) of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..floor(text, offset)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or("").chars().count() + 1;
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
    // A tab is as wide as the terminal likes; as four spaces the marks stand under the text.
    let show = |from: usize, to: usize| {
        text.get(from..to).unwrap_or("").trim_end_matches('\r').replace('\t', "    ")
    };
    let (line, _) = position(text, start);
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let before = show(line_start, start).width();
    let marked = show(start, end).width().max(1);
    let marks = paint(&mark.repeat(marked));
    let _ = writeln!(out, " {margin} |");
    let _ = writeln!(out, " {number} | {}", show(line_start, line_end));
    let _ = writeln!(out, "{}", format!(" {margin} | {}{marks} {label}", " ".repeat(before)).trim_end());
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
