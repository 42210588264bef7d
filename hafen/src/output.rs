//! What commands print: tables for people, JSON of a stable shape for programs.

use std::io::{IsTerminal as _, Write as _};

use hafen_base::{Error, Result};
use serde::Serialize;

/// Whether to colour: only on a terminal, and never against `NO_COLOR`.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

pub fn paint(code: &str, text: &str) -> String {
    if colour() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Writes a line; a reader that went away (`| head`) ends the program quietly.
pub fn line(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

pub fn json<T: Serialize>(value: &T) -> Result<()> {
    line(&serde_json::to_string_pretty(value).map_err(Error::internal)?);
    Ok(())
}

/// A list in JSON: `{"items": […], "next_page": null}`.
pub fn json_list<T: Serialize>(items: &[T]) -> Result<()> {
    json(&serde_json::json!({ "items": items, "next_page": null }))
}

/// Columns as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    for text in table_lines(head, rows) {
        line(&text);
    }
}

fn table_lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = head.iter().map(|title| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![show(head.to_vec())];
    lines.extend(rows.iter().map(|row| show(row.iter().map(String::as_str).collect())));
    lines
}

/// An error as a person reads it, with each thing that is wrong.
pub fn error(error: &Error) {
    eprintln!("error: {error}");
    for field in error.fields() {
        if field.rendered.is_empty() {
            let at = if field.pointer.is_empty() { "" } else { field.pointer.as_str() };
            eprintln!("  {at} {}", field.message);
        } else {
            eprintln!("\n{}", field.rendered.trim_end());
        }
    }
    tracing::debug!(cause = %error.cause_chain(), "{error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["web-1".into(), "started".into()], vec!["db".into(), "é".into()]];
        assert_eq!(table_lines(&["NAME", "STATE"], &rows), ["NAME   STATE", "web-1  started", "db     é"]);
    }
}
