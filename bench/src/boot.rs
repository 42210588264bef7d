//! From create to the SSH banner. The driver's own measurement runs as an example of `crates/qemu`: warm and cold, beside
//! the same guest under a plain QEMU.
//!
//! What is still to come here: the same through the API, on `hafen serve --engine qemu` (`Platform::start` takes the
//! engine), once the driver is joined to the platform.

use std::process::{Command, Stdio};

use hafen_base::{Error, Result};
use serde_json::Value;

use crate::Context;
use crate::platform::broken;
use crate::report::{Figure, Part};

pub fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("boot");
    let runs = context.runs.to_string();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            "hafen-qemu",
            "--example",
            "bench_boot",
            "--",
            &runs,
        ])
        .stderr(Stdio::inherit())
        .output()
        .map_err(broken("cargo run"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let seen: Value = line
        .filter(|_| output.status.success())
        .and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| Error::unavailable(format!("the driver's measurement failed: {text}")))?;
    for name in ["accelerator", "qemu"] {
        part.fact(name, seen.get(name).and_then(Value::as_str).unwrap_or_default());
    }
    let value = |name: &str| {
        seen.get(name)
            .and_then(Value::as_f64)
            .ok_or_else(|| Error::unavailable(format!("the driver's measurement has no {name}: {seen}")))
    };
    let figures = [
        ("template_s", "making the template, once per image", None),
        ("warm_s", "driver: warm, create to SSH banner", Some(3.0)),
        ("cold_s", "driver: cold, create to SSH banner", None),
        ("raw_cold_s", "plain QEMU: cold boot to SSH banner", None),
        ("raw_resume_s", "plain QEMU: resume to SSH banner", None),
    ];
    for (name, what, limit) in figures {
        let figure = Figure::new(name, what, "s", &[value(name)?])?;
        part.figures.push(limit.map_or(figure.clone(), |limit| figure.at_most(limit)));
    }
    let ratio = value("warm_s")? / value("raw_resume_s")?;
    part.figures
        .push(Figure::new("warm_to_raw_resume", "warm beside the plain resume", "×", &[ratio])?.at_most(1.4));
    Ok(part)
}
