//! Figures, the table of them, and the file they are kept in.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hafen_base::{Clock as _, Error, Result, SystemClock};
use serde::Serialize;

/// What a figure depends on and no change of the code can mend. Names no path and no host.
#[derive(Debug, Serialize)]
pub struct Host {
    cores: usize,
    cpu: String,
    memory_bytes: u64,
    kernel: String,
    /// Of the file system the homes lie on.
    file_system: String,
    /// Commit measured; `+` when files differed from it.
    commit: String,
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The value of `key: value` in a file of `/proc`.
pub fn proc_value(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A value of `/proc` in kB, as bytes.
pub fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let value = proc_value(file, key)?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

impl Host {
    /// # Errors
    /// Invalid when the scratch folder lies in memory: a commit there costs nothing, and the figures would lie.
    pub fn look(scratch: &Path) -> Result<Self> {
        let file_system =
            output("stat", &["-f", "-c", "%T", &scratch.display().to_string()]).unwrap_or_default();
        if file_system == "tmpfs" || file_system == "ramfs" {
            return Err(Error::invalid(
                "the scratch folder lies in memory, where a commit costs nothing: name one on a disk with --scratch",
            ));
        }
        let commit = output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
        let dirty =
            output("git", &["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"]);
        let dirty = dirty.is_some_and(|text| !text.is_empty());
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            memory_bytes: proc_bytes("/proc/meminfo", "MemTotal").unwrap_or(0),
            kernel: output("uname", &["-r"]).unwrap_or_default(),
            file_system,
            commit: format!("{commit}{}", if dirty { "+" } else { "" }),
        })
    }

    pub fn print(&self) {
        println!("{} cores, {}, {}, commit {}", self.cores, self.cpu, self.file_system, self.commit);
    }
}

/// A measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub runs: Vec<f64>,
    pub min: f64,
    pub median: f64,
    pub max: f64,
    /// The median may be at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<bool>,
}

impl Figure {
    /// # Errors
    /// Internal when nothing was measured.
    pub fn new(name: &'static str, what: &str, unit: &'static str, runs: &[f64]) -> Result<Self> {
        let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
        let mut sorted: Vec<f64> = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(median), Some(max)) =
            (sorted.first(), sorted.get(sorted.len() / 2), sorted.last())
        else {
            return Err(Error::internal(format!("nothing was measured for {name}")));
        };
        Ok(Self {
            name,
            what: what.to_owned(),
            unit,
            min: round(*min),
            median: round(*median),
            max: round(*max),
            runs: runs.iter().copied().map(round).collect(),
            limit: None,
            pass: None,
        })
    }

    pub fn seconds(name: &'static str, what: &str, runs: &[Duration]) -> Result<Self> {
        let runs: Vec<f64> = runs.iter().map(Duration::as_secs_f64).collect();
        Self::new(name, what, "s", &runs)
    }

    #[must_use]
    pub fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self.pass = Some(self.median <= limit);
        self
    }
}

/// The figures of one part, of one run.
#[derive(Debug, Serialize)]
pub struct Part {
    #[serde(rename = "part")]
    pub title: &'static str,
    /// What else the figures depend on: versions, the engine, the accelerator.
    pub facts: BTreeMap<&'static str, String>,
    pub figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Written<'a> {
    at: hafen_base::Timestamp,
    host: &'a Host,
    #[serde(flatten)]
    part: &'a Part,
}

impl Part {
    pub fn new(title: &'static str) -> Self {
        Self { title, facts: BTreeMap::new(), figures: Vec::new() }
    }

    pub fn fact(&mut self, name: &'static str, value: impl Into<String>) {
        self.facts.insert(name, value.into());
    }

    /// The median of a figure taken before.
    pub fn median(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.median)
    }

    /// A ratio of two medians of this run.
    pub fn ratio(&mut self, name: &'static str, what: &str, of: &str, to: &str) -> Result<()> {
        let (Some(of), Some(to)) = (self.median(of), self.median(to)) else {
            return Err(Error::internal(format!("{name} needs {of} and {to}")));
        };
        self.figures.push(Figure::new(name, what, "×", &[of / to])?);
        Ok(())
    }

    pub fn passes(&self) -> bool {
        self.figures.iter().all(|figure| figure.pass != Some(false))
    }

    pub fn print(&self) {
        println!("\n{}", self.title);
        for (name, value) in &self.facts {
            println!("  {name}: {value}");
        }
        for figure in &self.figures {
            let limit = figure.limit.map(|limit| format!("≤ {limit}")).unwrap_or_default();
            let verdict = match figure.pass {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None => "",
            };
            let spread = match figure.runs.len() {
                1 => String::new(),
                runs => format!("({} … {}, {runs} runs)", figure.min, figure.max),
            };
            println!(
                "  {:<72} {:>12} {:<4} {limit:<9} {verdict:<7} {spread}",
                figure.what, figure.median, figure.unit
            );
        }
    }

    /// # Errors
    /// Unavailable when the file cannot be written.
    pub fn write(&self, host: &Host, folder: &Path) -> Result<()> {
        let path = folder.join(format!("{}.json", self.title));
        let written = Written { at: SystemClock.now(), host, part: self };
        let text = serde_json::to_string_pretty(&written).map_err(Error::internal)?;
        std::fs::write(&path, format!("{text}\n"))
            .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_median() {
        let figure = Figure::new("x", "x", "s", &[9.0, 1.0, 2.0]).unwrap();
        assert_eq!((figure.min, figure.median, figure.max), (1.0, 2.0, 9.0));
        assert_eq!(figure.clone().at_most(2.0).pass, Some(true));
        assert_eq!(figure.at_most(1.9).pass, Some(false));
        assert!(Figure::new("x", "x", "s", &[]).is_err());
    }
}
