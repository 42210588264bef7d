//! Active checks: each endpoint of a backend with checks is asked for its path, as often as its plan says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::{Endpoint, HealthPlan};
use crate::proxy::Proxy;
use crate::upstream;

/// How often it is looked who is due.
const TICK: Duration = Duration::from_millis(50);
const TIDY: Duration = Duration::from_secs(10);
/// Checks at a time.
const PARALLEL: usize = 256;
/// What is read of an answer.
const READ: usize = 4096;

/// Checks until `stop` turns true; closes connections that wait for too long on the way.
pub async fn run(proxy: Arc<Proxy>, mut stop: watch::Receiver<bool>) {
    let mut due: HashMap<usize, Instant> = HashMap::new();
    let mut checks = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tidied = Instant::now();
    loop {
        tokio::select! {
            _ = stop.changed() => {
                if *stop.borrow() {
                    return;
                }
            }
            _ = tick.tick() => {}
        }
        while checks.try_join_next().is_some() {}
        let now = Instant::now();
        let mut seen = HashMap::with_capacity(due.len());
        for backend in proxy.table().backends() {
            let Some(plan) = backend.health() else { continue };
            for endpoint in backend.endpoints() {
                let key = Arc::as_ptr(&endpoint).addr();
                let at = due.get(&key).copied().unwrap_or(now);
                if at <= now && checks.len() < PARALLEL && !endpoint.is_draining() {
                    seen.insert(key, now + plan.interval);
                    checks.spawn(check(Arc::clone(&proxy), endpoint, plan.clone()));
                } else {
                    seen.insert(key, at);
                }
            }
        }
        due = seen;
        if tidied.elapsed() > TIDY {
            tidied = now;
            proxy.idle_sweep(crate::exchange::IDLE);
            proxy.table().backends_tidy();
        }
    }
}

async fn check(proxy: Arc<Proxy>, endpoint: Arc<Endpoint>, plan: HealthPlan) {
    let outcome = match tokio::time::timeout(plan.timeout, ask(&proxy, &endpoint, &plan)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Some(Err(format!("GET {} was not answered within {} ms", plan.path, plan.timeout.as_millis())))
        }
    };
    if let Some(outcome) = outcome {
        endpoint.checked(&plan, outcome);
    }
}

/// None where it cannot be asked just now, which says nothing of it.
async fn ask(proxy: &Proxy, endpoint: &Endpoint, plan: &HealthPlan) -> Option<Result<(), String>> {
    let _room = proxy.room()?;
    Some(answer(proxy, endpoint, plan).await)
}

async fn answer(proxy: &Proxy, endpoint: &Endpoint, plan: &HealthPlan) -> Result<(), String> {
    let stream = upstream::connect(endpoint, proxy.connect(), plan.timeout).await;
    let mut stream = stream.map_err(|error| format!("{} cannot be reached: {error}", endpoint.place))?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: health.internal\r\nuser-agent: hafen-health\r\nconnection: close\r\n\r\n",
        plan.path
    );
    let broken = |error: std::io::Error| format!("GET {} broke off: {error}", plan.path);
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    let mut read = stream.take(READ as u64);
    while !answer.contains(&b'\n') && read.read_buf(&mut answer).await.map_err(broken)? > 0 {}
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\n').next().unwrap_or_default())
        .trim()
        .to_owned();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        Some(_) => Err(format!("GET {} was answered with {line:?}", plan.path)),
        None => Err(format!("GET {} was answered with no HTTP", plan.path)),
    }
}
