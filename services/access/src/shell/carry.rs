//! Carries a shell between a WebSocket and a machine, for as long as it may last.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hafen_base::{Clock, Result, Timestamp};
use hafen_bastion::{EndReason, Gate as _};
use hafen_http::StillPermitted;
use hafen_remote::{Ended, Typed};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Shells, Standing, api};

/// Between two pings of a terminal that shows nothing: proxies end what is silent for a minute.
const PING: Duration = Duration::from_secs(25);
/// For the last word to somebody who may not listen any more.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between two looks whether it is idle.
const LOOK: Duration = Duration::from_secs(30);
/// Pieces that wait in each direction.
const PIECES: usize = 16;

/// How it ended.
enum End {
    Shell(Result<Ended>),
    Malformed,
    Because(EndReason),
}

impl End {
    fn reason(&self) -> EndReason {
        match self {
            Self::Shell(_) => EndReason::Target,
            Self::Malformed => EndReason::Client,
            Self::Because(reason) => *reason,
        }
    }

    /// What the client is told.
    fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Shell(Ok(Ended::Status(status))) => (close_code::NORMAL, format!("exit {status}")),
            Self::Shell(Ok(Ended::Otherwise)) => (close_code::NORMAL, "signal".to_owned()),
            Self::Shell(Err(_)) => (close_code::ERROR, "the connection to the machine broke off".to_owned()),
            Self::Malformed => {
                let text = "send bytes, or as text {\"columns\":80,\"rows\":24}, each 1 to 1000";
                (close_code::INVALID, text.to_owned())
            }
            Self::Because(EndReason::Client) => return None,
            Self::Because(EndReason::Stopping) => (close_code::AWAY, EndReason::Stopping.as_str().to_owned()),
            Self::Because(reason) => (close_code::POLICY, reason.as_str().to_owned()),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// What was carried.
struct Carried {
    sent: AtomicU64,
    received: AtomicU64,
    last: AtomicI64,
    /// Somebody typed since it was asked.
    typed: AtomicBool,
}

impl Carried {
    fn new(now: Timestamp) -> Self {
        let last = AtomicI64::new(now.micros());
        Self { sent: AtomicU64::new(0), received: AtomicU64::new(0), last, typed: AtomicBool::new(true) }
    }

    fn count(&self, direction: &AtomicU64, bytes: usize, now: Timestamp) {
        direction.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        self.last.store(now.micros(), Ordering::Relaxed);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resized {
    columns: u32,
    rows: u32,
}

impl Shells {
    /// Until it ends; then that is written down.
    pub(super) async fn carry(&self, standing: Standing, socket: WebSocket, still: StillPermitted) {
        let Standing { far, mut record, actor, way, _seat } = standing;
        let parts = &self.0;
        let clock = &*parts.access.0.clock;
        let (mut sink, mut source) = socket.split();
        if let Err(error) = parts.gate.opened(&record).await {
            // What cannot be written down is not done.
            tracing::error!(cause = %error.cause_chain(), "a shell is not opened: {error}");
            let frame = CloseFrame { code: close_code::ERROR, reason: "it cannot be written down".into() };
            farewell(clock, &mut sink, frame).await;
            return;
        }
        let address = [("address", record.address.to_string())];
        let address: Vec<_> = address.iter().map(|(what, value)| (*what, value.as_str())).collect();
        if let Err(error) = actor.clone().acts(parts.gate.first_seen(&actor, &address)).await {
            tracing::error!(cause = %error.cause_chain(), "whether this address is new is not written down: {error}");
        }
        let carried = Carried::new(clock.now());
        let (to_machine, typed) = mpsc::channel(PIECES);
        let (heard, mut from_machine) = mpsc::channel(PIECES);
        let limits = &parts.config.limits;
        let shell = async {
            let run = actor.clone().acts(far.run(typed, heard));
            let (ended, ()) = tokio::join!(run, shown(clock, &mut from_machine, &mut sink, &carried));
            ended
        };
        let end = tokio::select! {
            ended = shell => End::Shell(ended),
            end = read(clock, &mut source, to_machine, &carried) => end,
            () = self.revoked(record.serial) => End::Because(EndReason::Revoked),
            () = way.lost().cancelled_owned() => End::Because(EndReason::Revoked),
            _over = still.over(clock, &carried.typed) => End::Because(EndReason::Revoked),
            () = clock.sleep(limits.session) => End::Because(EndReason::TooLong),
            () = idle(clock, limits.idle, &carried) => End::Because(EndReason::Idle),
            () = parts.stop.cancelled() => End::Because(EndReason::Stopping),
        };
        if let End::Shell(Err(error)) = &end {
            tracing::info!(cause = %error.cause_chain(), "a shell on {} ends: {error}", record.host);
        }
        record.ended = Some((clock.now(), end.reason()));
        record.sent = carried.sent.load(Ordering::Relaxed);
        record.received = carried.received.load(Ordering::Relaxed);
        tokio::join!(parts.gate.closed(&record), async {
            if let Some(frame) = end.frame() {
                farewell(clock, &mut sink, frame).await;
            }
        });
    }
}

/// What the terminal shows, to the client.
async fn shown(
    clock: &dyn Clock,
    heard: &mut mpsc::Receiver<Bytes>,
    sink: &mut SplitSink<WebSocket, Message>,
    carried: &Carried,
) {
    loop {
        let message = tokio::select! {
            bytes = heard.recv() => match bytes {
                Some(bytes) => {
                    carried.count(&carried.received, bytes.len(), clock.now());
                    Message::Binary(bytes)
                }
                None => return,
            },
            () = clock.sleep(PING) => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// What the client sends, to the machine, until it goes or sends what is neither.
async fn read(
    clock: &dyn Clock,
    source: &mut SplitStream<WebSocket>,
    to_machine: mpsc::Sender<Typed>,
    carried: &Carried,
) -> End {
    while let Some(Ok(message)) = source.next().await {
        let typed = match message {
            Message::Binary(bytes) => {
                carried.typed.store(true, Ordering::Relaxed);
                carried.count(&carried.sent, bytes.len(), clock.now());
                Typed::Bytes(bytes)
            }
            Message::Text(text) => {
                let resized = serde_json::from_str::<Resized>(&text).ok();
                match resized.and_then(|resized| api::size(resized.columns, resized.rows)) {
                    Some(size) => Typed::Resized(size),
                    None => return End::Malformed,
                }
            }
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if to_machine.send(typed).await.is_err() {
            // It takes no more; how it ended is told by the other direction.
            std::future::pending::<()>().await;
        }
    }
    End::Because(EndReason::Client)
}

async fn idle(clock: &dyn Clock, most: Duration, carried: &Carried) {
    loop {
        clock.sleep(most.min(LOOK)).await;
        let last = Timestamp::from_micros(carried.last.load(Ordering::Relaxed));
        if clock.now().since(last) >= most {
            return;
        }
    }
}

async fn farewell(clock: &dyn Clock, sink: &mut SplitSink<WebSocket, Message>, frame: CloseFrame) {
    tokio::select! {
        // It may be gone already.
        _gone = sink.send(Message::Close(Some(frame))) => {}
        () = clock.sleep(FAREWELL) => {}
    }
}
