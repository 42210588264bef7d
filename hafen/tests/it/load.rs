//! Requests to an app, one after the other, for as long as a test wants: through a balancer as simple as can be, which asks the
//! platform who serves and takes turns. What it counts is what a user would have noticed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hafen_client::{Client, Duplex, HttpTransport, Token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::token;
use crate::platform::Platform;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Told {
    pub answered: u64,
    /// Sent to another process, because the first took no connection: nothing was asked of it yet.
    pub again: u64,
    pub failed: Vec<String>,
    /// What was answered last.
    pub last: String,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
    threads: Vec<JoinHandle<()>>,
}

type Places = Arc<Mutex<Vec<(String, u16)>>>;

impl Load {
    pub fn begin(platform: &Platform, app: &str) -> Self {
        let endpoint = std::fs::read_to_string(platform.home.path().join("api.json")).unwrap();
        let endpoint: serde_json::Value = serde_json::from_str(&endpoint).unwrap();
        let url = endpoint["url"].as_str().unwrap().to_owned();
        let token = token(platform).trim_start_matches("Bearer ").to_owned();
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Told::default())));
        let places = Places::default();
        let thread = {
            let (stop, told, app) = (Arc::clone(&stop), Arc::clone(&told), app.to_owned());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let client = Client::new(Arc::new(HttpTransport::new(&url).unwrap()), Token::new(&token));
                    tokio::join!(
                        looks(&client, &app, &places, &stop),
                        asks(&client, 0, &places, &told, &stop),
                        asks(&client, 1, &places, &told, &stop),
                    );
                });
            })
        };
        let load = Self { stop, told, threads: vec![thread] };
        crate::platform::until("the first answers", || {
            (load.told.lock().unwrap().answered > 5).then_some(())
        });
        load
    }

    /// How many were answered until now, and how many had to be sent again.
    pub fn counts(&self) -> (u64, u64) {
        let told = self.told.lock().unwrap();
        (told.answered, told.again)
    }

    pub fn end(self) -> Told {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

/// Who serves, a few times a second.
async fn looks(client: &Client, app: &str, places: &Places, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        if let Ok(app) = client.app_get("hello", app).await {
            let serving = app.processes.into_iter().filter(|one| one.state == "healthy");
            *places.lock().unwrap() = serving.map(|one| (one.machine, one.port)).collect();
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

async fn asks(client: &Client, first: usize, places: &Places, told: &Mutex<Told>, stop: &AtomicBool) {
    let mut turn = first;
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let there = places.lock().unwrap().clone();
        if there.is_empty() && told.lock().unwrap().answered == 0 {
            continue;
        }
        let mut tries = 0;
        let outcome = loop {
            let there = places.lock().unwrap().clone();
            turn += 1;
            let Some((machine, port)) = there.get(turn % there.len().max(1)) else {
                break Err("nobody serves".to_owned());
            };
            match ask(client, machine, *port).await {
                Asked::Answered(answer) => break Ok(answer),
                Asked::Broke(why) => break Err(format!("{machine}:{port} {why}")),
                Asked::NotTaken(why) if tries == 20 => break Err(format!("{machine}:{port} {why}")),
                Asked::NotTaken(_) => {
                    tries += 1;
                    told.lock().unwrap().again += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        };
        let mut told = told.lock().unwrap();
        match outcome {
            Ok(answer) => {
                told.answered += 1;
                told.last = answer;
            }
            Err(why) => told.failed.push(why),
        }
    }
}

enum Asked {
    Answered(String),
    /// No connection: it may be sent elsewhere, whatever it is.
    NotTaken(String),
    Broke(String),
}

async fn ask(client: &Client, machine: &str, port: u16) -> Asked {
    let patience = Duration::from_secs(15);
    let stream = match tokio::time::timeout(patience, client.machine_dial("hello", machine, port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Asked::NotTaken(error.to_string()),
        Err(_) => return Asked::NotTaken("no connection in time".to_owned()),
    };
    let mut stream = Duplex::from(stream);
    let exchange = async {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    match tokio::time::timeout(patience, exchange).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 OK") => Asked::Answered(answer),
        // A machine that died under it: a GET may be asked again.
        Ok(Ok(answer)) if answer.is_empty() => Asked::NotTaken("the connection ended".to_owned()),
        Ok(Ok(answer)) => Asked::Broke(answer),
        Ok(Err(error)) => Asked::NotTaken(error.to_string()),
        Err(_) => Asked::NotTaken("no answer in time".to_owned()),
    }
}
