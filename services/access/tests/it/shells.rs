//! How long a shell in the browser lasts, and how many there may be: over real WebSockets, on a clock that the test steps.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use futures::{SinkExt as _, StreamExt as _};
use hafen_access::{ShellConfig, ShellLimits, Shells};
use hafen_http::StillPermitted;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{Service, alice, service};

const PATH: &str = "/api/v1/projects/hello/machines/web-1/shell";

struct Served {
    service: Service,
    address: SocketAddr,
    shells: Shells,
    stop: watch::Sender<bool>,
}

async fn served(limits: ShellLimits) -> Served {
    let service = service(hafen_db::testing::sqlite()).await;
    let shells = Shells::open(service.access.clone(), ShellConfig { simulated: true, limits }).await.unwrap();
    let (router, _) = shells.router().split_for_parts();
    let as_alice = |mut request: Request, next: Next| {
        request.extensions_mut().insert(StillPermitted::always());
        alice().acts(next.run(request))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.layer(from_fn(as_alice));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { service, address, shells, stop: watch::Sender::new(false) }
}

/// A terminal at which the prompt stands.
struct Terminal(WebSocketStream<TcpStream>);

impl Served {
    /// Or the status that it is answered with.
    async fn open(&self) -> Result<Terminal, u16> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        match tokio_tungstenite::client_async(format!("ws://{}{PATH}", self.address), stream).await {
            Ok((socket, _)) => {
                let mut terminal = Terminal(socket);
                terminal.shows("$ ").await;
                Ok(terminal)
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets time pass until it is closed: by whom it was, and how long that took.
    async fn closes(&self, terminal: Terminal) -> (u16, String, Duration) {
        let closed = tokio::spawn(terminal.closed());
        let step = Duration::from_secs(30);
        let mut passed = Duration::ZERO;
        while !closed.is_finished() {
            assert!(passed < Duration::from_secs(24 * 3600), "it is never closed");
            self.service.clock.step(step);
            passed += step;
            // For those who were woken to fall asleep again.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (code, reason) = closed.await.unwrap();
        (code, reason, passed)
    }
}

impl Terminal {
    async fn shows(&mut self, wanted: &str) {
        let mut shown = String::new();
        while !shown.contains(wanted) {
            match self.0.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                Message::Close(frame) => panic!("closed ({frame:?}) before {wanted:?}: {shown}"),
                _ => {}
            }
        }
    }

    async fn closed(mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(frame)) = self.0.next().await.unwrap().unwrap() {
                return (frame.code.into(), frame.reason.as_str().to_owned());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_in_which_nothing_happens_ends_after_an_hour() {
    let served = served(ShellLimits::default()).await;
    let hour = Duration::from_secs(3600);
    let (code, reason, passed) = served.closes(served.open().await.unwrap()).await;
    assert_eq!((code, reason.as_str()), (1008, "idle"));
    // A woken task may oversleep a few steps of the test.
    assert!((hour..hour * 2).contains(&passed), "{passed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_ends_after_twelve_hours_however_much_is_typed() {
    let served = served(ShellLimits::default()).await;
    let mut terminal = served.open().await.unwrap();
    for turn in 0..71 {
        served.service.clock.step(Duration::from_secs(600));
        terminal.0.send(Message::Binary(format!("echo turn-{turn}\r").into())).await.unwrap();
        terminal.shows(&format!("\r\nturn-{turn}\r\n")).await;
    }
    let (code, reason, passed) = served.closes(terminal).await;
    assert_eq!((code, reason.as_str()), (1008, "too_long"));
    assert!(passed >= Duration::from_secs(600), "{passed:?}");
    assert!(passed < Duration::from_secs(1800), "{passed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_so_many_and_a_closed_one_makes_room() {
    let served = served(ShellLimits { of_one: 3, ..ShellLimits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(served.open().await.unwrap());
    }
    assert_eq!(served.open().await.err(), Some(429));
    let mut gone = open.pop().unwrap();
    gone.0.send(Message::Binary("exit 0\r".into())).await.unwrap();
    assert_eq!(gone.closed().await, (1000, "exit 0".to_owned()));
    let again = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match served.open().await {
                Ok(terminal) => return terminal,
                // Its end is written down first.
                Err(status) => assert_eq!(status, 429),
            }
        }
    });
    open.push(again.await.unwrap());
    assert_eq!(served.open().await.err(), Some(429));

    // What is open when the platform stops is told so, and written down.
    let shells = served.shells.clone();
    let stop = served.stop.subscribe();
    let stopped = tokio::spawn(async move { shells.run(stop).await });
    served.stop.send_replace(true);
    for terminal in open {
        assert_eq!(terminal.closed().await, (1001, "stopping".to_owned()));
    }
    stopped.await.unwrap();
    let (_, list) =
        served.service.call(alice(), "GET", "/api/v1/access/sessions", serde_json::Value::Null).await;
    let mut reasons: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|one| one["end_reason"].as_str().unwrap()).collect();
    // They were opened at one moment of this clock.
    reasons.sort_unstable();
    assert_eq!(reasons, ["stopping", "stopping", "stopping", "target"]);
}
