//! From create to the SSH banner: through the API of `hafen serve`, as a user has it, and in the driver alone (an example
//! of `crates/qemu`), beside the same guest under a plain QEMU, cold and resumed.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hafen_base::{Error, Result};
use hafen_client::wire::{ImageCreate, ImageSource, MachineCreate, MachineSpec, NetworkCreate, ProjectPut};
use hafen_client::{Client, Conditions};
use serde_json::Value;

use crate::Context;
use crate::platform::{Platform, broken};
use crate::report::{Figure, Part};

/// Under emulation, with an image to build first.
const PATIENCE: Duration = Duration::from_secs(600);
/// A cold boot takes half a minute here.
const COLD_RUNS: u32 = 3;

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("boot");
    let (warm, cold) = product(context).await?;
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
    part.figures.push(Figure::seconds("create_warm", "API: create to SSH banner, warm", &warm)?.at_most(3.0));
    part.figures.push(Figure::seconds("create_cold", "API: create to SSH banner, cold", &cold)?);
    for (name, what, limit) in figures {
        let figure = Figure::new(name, what, "s", &[value(name)?])?;
        part.figures.push(limit.map_or(figure.clone(), |limit| figure.at_most(limit)));
    }
    let ratio = value("warm_s")? / value("raw_resume_s")?;
    part.figures.push(
        Figure::new("warm_to_raw_resume", "driver, warm, beside the plain resume", "×", &[ratio])?
            .at_most(1.4),
    );
    part.ratio("create_to_raw_resume", "API, warm, beside the plain resume", "create_warm", "raw_resume_s")?;
    if let Some(last) = part.figures.pop() {
        part.figures.push(last.at_most(1.4));
    }
    Ok(part)
}

/// Machines made one after the other through the API: warm, then cold.
async fn product(context: &Context) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let platform = Platform::start(context, "qemu").await?;
    let client = platform.client()?;
    client.project_put("boot", &ProjectPut::default()).await?;
    let network = NetworkCreate { name: "net".into(), egress: Default::default(), subnet: None };
    client.network_create("boot", &network, &Conditions::key("net")).await?;
    let source =
        ImageSource::Debian { release: "trixie".into(), packages: Vec::new(), files: Default::default() };
    let image = ImageCreate { name: "plain".into(), source, lock: None };
    let image = client.image_create("boot", &image, &Conditions::key("image")).await?;
    if let Some(operation) = image.operation {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match client.operation_wait(&operation.to_string(), Duration::from_secs(60)).await {
                Err(error) if error.kind() == hafen_base::ErrorKind::Timeout => {}
                other => {
                    other?;
                    break;
                }
            }
        }
    }
    // The first makes the template, which is not part of the figure.
    machine(&client, "first", "warm").await?;
    // At rest, as the plain guest is before its own figure: image and template are on the disk, not on their way there.
    tokio::task::spawn_blocking(rustix::fs::sync).await.map_err(Error::internal)?;
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for run in 0..context.runs {
        warm.push(machine(&client, &format!("warm-{run}"), "warm").await?);
    }
    for run in 0..context.runs.min(COLD_RUNS) {
        cold.push(machine(&client, &format!("cold-{run}"), "cold").await?);
    }
    for name in client.network_list("boot").await?.into_iter().map(|network| network.name) {
        client.network_delete("boot", &name).await?;
        gone(&client).await?;
    }
    Ok((warm, cold))
}

/// Networks end with the platform's own steps: a home must not be removed under them.
async fn gone(client: &Client) -> Result<()> {
    let began = Instant::now();
    while !client.network_list("boot").await?.is_empty() {
        if began.elapsed() > Duration::from_secs(60) {
            return Err(Error::unavailable("the network of the measurement does not end"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Makes a machine, takes the time until its SSH server greets, and removes it.
async fn machine(client: &Client, name: &str, start: &str) -> Result<Duration> {
    let spec = MachineSpec {
        image: "plain".into(),
        cpus: 1,
        memory: 512 << 20,
        disk: 4 << 30,
        network: "net".into(),
        address: None,
        user_data: None,
        start: start.into(),
    };
    let body = MachineCreate {
        name: name.into(),
        spec,
        group: None,
        metadata: Default::default(),
        health: None,
        skip_launch: false,
        skip_registration: false,
        lease_ttl: None,
    };
    let began = Instant::now();
    client.machine_create("boot", &body, &Conditions::key(name)).await?;
    loop {
        match client.machine_wait("boot", name, "started", Duration::from_secs(60)).await {
            Err(error) if error.kind() == hafen_base::ErrorKind::Timeout && began.elapsed() < PATIENCE => {}
            other => {
                other?;
                break;
            }
        }
    }
    let mut stream = client.machine_dial("boot", name, 22).await?;
    let greeting = stream.receiver.recv().await.unwrap_or_default();
    let took = began.elapsed();
    if !greeting.starts_with(b"SSH-") {
        return Err(Error::unavailable(format!("{name} does not greet as an SSH server does")));
    }
    client.machine_delete("boot", name, &Conditions::default()).await?;
    client.machine_wait("boot", name, "destroyed", Duration::from_secs(60)).await?;
    Ok(took)
}
