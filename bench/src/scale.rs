//! Plans and applies of a thousand machines on the simulated engine without latency, and what the control plane takes in
//! memory.

use std::time::{Duration, Instant};

use hafen_base::{Error, Result};
use hafen_client::wire::MachineState;
use http_body_util::BodyExt as _;

use crate::Context;
use crate::peer::sqlite_commits;
use crate::platform::{Platform, megabytes};
use crate::report::{Figure, Part};

/// Machines of an apply.
const MACHINES: u32 = 1000;

#[derive(Default)]
struct Taken {
    start: Vec<Duration>,
    idle: Vec<f64>,
    plan: Vec<Duration>,
    plan_large: Vec<Duration>,
    commits: Vec<Duration>,
    apply: Vec<Duration>,
    plan_again: Vec<Duration>,
    destroy: Vec<Duration>,
    overhead: Vec<f64>,
}

pub async fn measure(context: &Context) -> Result<Part> {
    let mut taken = Taken::default();
    let mut part = Part::new("scale");
    for _ in 0..context.runs {
        one(context, &mut taken, &mut part).await?;
    }
    let figures = [
        Figure::seconds("start", "hafen serve: start to first answer", &taken.start),
        Figure::new("idle_memory", "hafen serve: resident memory at rest, empty", "MB", &taken.idle)
            .map(|figure| figure.at_most(60.0)),
        Figure::seconds("plan_1000", "hafen plan: 1,000 machines to create", &taken.plan)
            .map(|figure| figure.at_most(0.3)),
        Figure::seconds("plan_10000", "hafen plan: 10,000 machines to create", &taken.plan_large)
            .map(|figure| figure.at_most(3.0)),
        Figure::seconds("sqlite_2000", "sqlite3: 2,000 commits, the same settings and disk", &taken.commits),
        Figure::seconds("apply_1000", "hafen apply: 1,000 machines, event stream open", &taken.apply)
            .map(|figure| figure.at_most(10.0)),
        Figure::seconds("plan_unchanged", "hafen plan: 1,000 machines, nothing to do", &taken.plan_again)
            .map(|figure| figure.at_most(0.3)),
        Figure::new(
            "machine_memory",
            "control plane: memory per machine at 1,000, at rest",
            "kB",
            &taken.overhead,
        )
        .map(|figure| figure.at_most(50.0)),
        Figure::seconds("destroy_1000", "hafen destroy: 1,000 machines", &taken.destroy),
    ];
    for figure in figures {
        part.figures.push(figure?);
    }
    let what = "apply of 1,000 beside 2,000 bare commits (each machine: created, started)";
    part.ratio("apply_to_sqlite", what, "apply_1000", "sqlite_2000")?;
    Ok(part)
}

async fn one(context: &Context, taken: &mut Taken, part: &mut Part) -> Result<()> {
    taken.commits.push(sqlite_commits(context, 2 * MACHINES)?);
    let platform = Platform::start(context, "sim").await?;
    let status = platform.client()?.status().await?;
    part.fact("engine", format!("{}: {}", status.engine, status.engine_detail));
    part.fact("version", status.version);
    taken.start.push(platform.started_in);
    let empty = platform.resident_at_rest().await?;
    taken.idle.push(megabytes(empty));
    let empty = platform.resident_own()?;

    let file = platform.manifest("bench", MACHINES)?;
    let large = platform.manifest("large", 10_000)?;
    taken.plan.push(platform.timed(&["plan", "-f", &file]).await?);
    taken.plan_large.push(platform.timed(&["plan", "-f", &large]).await?);

    let events = tokio::spawn(count_started(platform.client()?));
    let began = Instant::now();
    taken.apply.push(platform.timed(&["apply", "--yes", "-f", &file]).await?);
    // Whoever follows the events knows all of it soon after.
    let followed = tokio::time::timeout(Duration::from_secs(30), events).await;
    match followed {
        Ok(Ok(counted)) => counted?,
        _ => return Err(Error::unavailable("the event stream did not tell of every machine")),
    }
    let late = began.elapsed();
    part.fact("events_complete", format!("{:.1} s after the apply began", late.as_secs_f64()));
    let machines = platform.client()?.machine_list("bench").await?;
    let well = machines.iter().filter(|machine| machine.state == MachineState::Started && machine.healthy);
    if well.count() != MACHINES as usize {
        return Err(Error::unavailable("not every machine is started and healthy after the apply"));
    }
    taken.plan_again.push(platform.timed(&["plan", "-f", &file]).await?);
    platform.resident_at_rest().await?;
    let full = platform.resident_own()?;
    taken.overhead.push(megabytes(full.saturating_sub(empty)) * 1000.0 / f64::from(MACHINES));
    taken.destroy.push(platform.timed(&["destroy", "--yes", "-f", &file]).await?);
    Ok(())
}

/// Follows the events from the first one until each machine was told to be started; positions must have no gap.
async fn count_started(client: hafen_client::Client) -> Result<()> {
    let mut body = client.follow("/api/v1/events?after=0").await?;
    let (mut rest, mut started, mut position) = (String::new(), 0, 0_i64);
    while started < MACHINES {
        let frame = body.frame().await.ok_or_else(|| Error::unavailable("the event stream ended"))?;
        let frame = frame.map_err(|error| Error::unavailable("the event stream broke").with_cause(error))?;
        let Some(data) = frame.data_ref() else { continue };
        rest.push_str(&String::from_utf8_lossy(data));
        while let Some(end) = rest.find("\n\n") {
            let event: String = rest.drain(..end + 2).collect();
            let Some(id) = event.strip_prefix("id: ").and_then(|text| text.lines().next()) else { continue };
            let id: i64 = id.parse().map_err(Error::internal)?;
            if id != position + 1 {
                return Err(Error::unavailable(format!("event {id} followed {position}")));
            }
            position = id;
            started += u32::from(event.contains("\nevent: machine.started\n"));
        }
    }
    Ok(())
}
