//! `GET machine` under load, beside nginx that sends the same bytes from a file.

use hafen_base::{Error, Result};

use crate::Context;
use crate::peer::{Load, Nginx, wrk};
use crate::platform::{Platform, broken};
use crate::report::{Figure, Part};

const MACHINES: u32 = 1000;
const IN_FLIGHT: u32 = 200;
const SECONDS: u32 = 5;

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("requests");
    let platform = Platform::start(context, "sim").await?;
    let file = platform.manifest("bench", MACHINES)?;
    platform.timed(&["apply", "--yes", "-f", &file]).await?;
    let paths: Vec<String> =
        (1..=MACHINES).map(|n| format!("/api/v1/projects/bench/machines/web-{n}")).collect();
    let machine = platform.client()?.machine_get("bench", "web-1").await?;
    let answer = serde_json::to_vec(&machine).map_err(Error::internal)?;
    part.fact("answer_bytes", answer.len().to_string());
    part.fact("in_flight", IN_FLIGHT.to_string());
    let files: Vec<(String, Vec<u8>)> = paths.iter().map(|path| (path.clone(), answer.clone())).collect();
    let nginx = Nginx::start(context, &files).await?;

    let folder = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
    let (mut ours, mut theirs, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..context.runs {
        // In turns, so that a noisy moment of the host falls on both.
        alone.push(wrk(folder.path(), &platform.url, &platform.token, &paths, 1, SECONDS)?);
        ours.push(wrk(folder.path(), &platform.url, &platform.token, &paths, IN_FLIGHT, SECONDS)?);
        theirs.push(wrk(folder.path(), &nginx.url, "none", &paths, IN_FLIGHT, SECONDS)?);
    }
    let of = |loads: &[Load], value: fn(&Load) -> f64| loads.iter().map(value).collect::<Vec<_>>();
    let figures = [
        Figure::new("get_alone", "GET machine, one at a time: p50", "ms", &of(&alone, |load| load.p50)),
        Figure::new("get_p50", "GET machine, 200 in flight: p50", "ms", &of(&ours, |load| load.p50)),
        Figure::new("get_p99", "GET machine, 200 in flight: p99", "ms", &of(&ours, |load| load.p99)),
        Figure::new("get_rate", "GET machine, 200 in flight", "/s", &of(&ours, |load| load.per_second)),
        Figure::new(
            "nginx_p99",
            "nginx, the same bytes from a file: p99",
            "ms",
            &of(&theirs, |load| load.p99),
        ),
        Figure::new(
            "nginx_rate",
            "nginx, the same bytes from a file",
            "/s",
            &of(&theirs, |load| load.per_second),
        ),
    ];
    for figure in figures {
        part.figures.push(figure?);
    }
    part.ratio("nginx_to_get_rate", "nginx's rate to ours", "nginx_rate", "get_rate")?;
    part.ratio("get_to_nginx_p99", "our p99 to nginx's", "get_p99", "nginx_p99")?;
    Ok(part)
}
