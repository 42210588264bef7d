//! What commands print: tables for people, JSON of a stable shape for programs.

use std::io::{IsTerminal as _, Write as _};

use hafen_base::{Error, ErrorKind, Result};
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

/// Writes a line for a person to stderr. Nobody listening there is no reason to end.
pub fn note(text: &str) {
    let _unheard = writeln!(std::io::stderr(), "{text}");
}

/// Writes text to stdout as it is.
pub fn raw(bytes: &[u8]) {
    if std::io::stdout().write_all(bytes).is_err() {
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

/// The first line of a text for a list or a line of progress, cut where it is long: the reason of a failed build has dozens
/// of lines, which `show` and `--json` give whole.
pub fn brief(text: &str) -> String {
    const MOST: usize = 200;
    let first = text.lines().next().unwrap_or("");
    let end = first.char_indices().nth(MOST).map_or(first.len(), |(at, _)| at);
    let shown = first.get(..end).unwrap_or(first);
    if shown.len() < text.trim_end().len() { format!("{}…", shown.trim_end()) } else { shown.to_owned() }
}

/// Columns as wide as their widest cell; a cell has one line.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| brief(cell)).collect()).collect();
    for text in table_lines(head, &rows) {
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
    note(&format!("error: {error}"));
    for field in error.fields() {
        let said = error.fields().len() == 1 && error.message().contains(&field.message);
        if !field.rendered.is_empty() {
            note(&format!("\n{}", field.rendered.trim_end()));
        } else if !said {
            note(format!("  {} {}", field.pointer, field.message).trim_end());
        }
    }
    if let Some(next) = what_next(error) {
        note(&format!("  {next}"));
    }
    tracing::debug!(cause = %error.cause_chain(), "{error}");
}

/// What a person can do about an answer that cannot know it speaks to a command line.
fn what_next(error: &Error) -> Option<&'static str> {
    if error.code() == "step_up_required" {
        return Some("on the command line: hafen step-up");
    }
    if error.kind() != ErrorKind::NotFound {
        return None;
    }
    let what = error.message().strip_prefix("there is no ")?.split(' ').next()?;
    match what {
        "machine" => Some("see those there are with: hafen machine list"),
        "image" => Some("see those there are with: hafen image list"),
        "repository" => Some("see those there are with: hafen repository list"),
        "hook" => Some("see those there are with: hafen hook list"),
        "network" => Some("see those there are with: hafen network list"),
        "snapshot" => Some("see those there are with: hafen machine snapshot list MACHINE"),
        "app" => Some("see those there are with: hafen app list"),
        "operation" => Some("see those there are with: hafen operation list"),
        "project" | "stack" => {
            Some("`hafen apply` in a folder with a hafen.toml makes one; -p names another")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_what_to_do_next() {
        let error = Error::not_found("machine \"x\" in project \"p\"");
        assert!(what_next(&error).is_some_and(|next| next.contains("hafen machine list")));
        assert!(what_next(&Error::conflict("there is no machine")).is_none());
    }

    #[test]
    fn a_long_reason_is_cut_and_says_so() {
        assert_eq!(brief("short"), "short");
        assert_eq!(brief("one line\n"), "one line");
        assert_eq!(brief("mmdebstrap failed:\nE: no\nE: more"), "mmdebstrap failed:…");
        let long = "ü".repeat(300);
        assert_eq!(brief(&long), format!("{}…", "ü".repeat(200)));
        assert_eq!(brief(""), "");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["web-1".into(), "started".into()], vec!["db".into(), "é".into()]];
        assert_eq!(table_lines(&["NAME", "STATE"], &rows), ["NAME   STATE", "web-1  started", "db     é"]);
    }
}
