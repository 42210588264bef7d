//! Active checks: each endpoint of a backend with checks is asked for its path, as often as its plan says.

use std::collections::{HashMap, HashSet};
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
/// Checks at a time; of one project.
const PARALLEL: usize = 512;
const PARALLEL_OF_PROJECT: usize = 32;
/// What is read of an answer.
const READ: usize = 4096;

/// Checks until `stop` turns true; closes connections that wait for too long on the way.
pub async fn run(proxy: Arc<Proxy>, mut stop: watch::Receiver<bool>) {
    let mut states: HashMap<Key, State> = HashMap::new();
    let mut checks: JoinSet<Key> = JoinSet::new();
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
        let now = Instant::now();
        while let Some(ended) = checks.try_join_next() {
            // A check that died would never be due again: with it goes what is known of all that are under way.
            let Ok(key) = ended else {
                checks.abort_all();
                states.clear();
                continue;
            };
            if let Some(state) = states.get_mut(&key) {
                (state.running, state.due) = (None, now + state.interval);
            }
        }
        for (key, endpoint, plan) in due(&proxy, &mut states, now, checks.len()) {
            let proxy = Arc::clone(&proxy);
            checks.spawn(async move {
                check(proxy, endpoint, plan).await;
                key
            });
        }
        if tidied.elapsed() > TIDY {
            tidied = now;
            proxy.idle_sweep(crate::exchange::IDLE);
            proxy.table().backends_tidy();
        }
    }
}

/// An endpoint, by where it lies in memory: as long as a check of it is under way it lies there.
type Key = usize;

struct State {
    /// The next check; counted from the end of the last, so that one that hangs is not two.
    due: Instant,
    interval: Duration,
    /// The project, while a check is under way.
    running: Option<String>,
}

/// Who is checked now, whoever has waited longest for it first. A project whose endpoints hang has so many checks under way and
/// no more, whatever it has of them.
fn due(
    proxy: &Proxy,
    states: &mut HashMap<Key, State>,
    now: Instant,
    running: usize,
) -> Vec<(Key, Arc<Endpoint>, HealthPlan)> {
    let mut of_project: HashMap<String, usize> = HashMap::new();
    let mut waiting = Vec::new();
    let mut there = HashSet::with_capacity(states.len());
    for backend in proxy.table().backends() {
        let Some(plan) = backend.health() else { continue };
        for endpoint in backend.endpoints() {
            let key = Arc::as_ptr(&endpoint).addr();
            there.insert(key);
            let fresh = || State { due: now, interval: plan.interval, running: None };
            let state = states.entry(key).or_insert_with(fresh);
            state.interval = plan.interval;
            // A plan of an hour that became one of a second does not wait for the hour.
            state.due = state.due.min(now + plan.interval);
            if state.running.is_none() && state.due <= now && !endpoint.is_draining() {
                waiting.push((state.due, key, Arc::clone(&backend), endpoint, plan.clone()));
            }
        }
    }
    states.retain(|key, state| state.running.is_some() || there.contains(key));
    for project in states.values().filter_map(|state| state.running.as_ref()) {
        *of_project.entry(project.clone()).or_default() += 1;
    }
    waiting.sort_by_key(|(due, ..)| *due);
    let mut chosen = Vec::new();
    for (_, key, backend, endpoint, plan) in waiting {
        if running + chosen.len() >= PARALLEL {
            break;
        }
        let count = of_project.entry(backend.project.clone()).or_default();
        if *count >= PARALLEL_OF_PROJECT {
            continue;
        }
        *count += 1;
        if let Some(state) = states.get_mut(&key) {
            state.running = Some(backend.project.clone());
        }
        chosen.push((key, endpoint, plan));
    }
    chosen
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
