//! Inner's side of the connection to outer, which is its standard input.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::outer::{FromOuter, OUTSIDE, ToOuter};
use crate::wire::Wire;
use crate::{Error, Result};

/// pasta needs a few dozen milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to ask of outer, and what it last said.
pub(super) struct Link {
    ask: mpsc::UnboundedSender<(ToOuter, Option<OwnedFd>)>,
    addresses: watch::Receiver<Option<Vec<Ipv4Addr>>>,
    /// Why the way out does not work. Counts how often pasta was closed as asked.
    trouble: watch::Receiver<(u64, Option<String>)>,
}

impl Link {
    /// Talks to outer in a task, which ends when outer does.
    pub(super) fn start() -> Result<(Self, tokio::task::JoinHandle<()>)> {
        let wrong = |error| Error::io("use", "the connection to the outer holder", error);
        let fd: OwnedFd = rustix::io::dup(std::io::stdin()).map_err(|error| wrong(error.into()))?;
        let stream = StdUnixStream::from(fd);
        stream.set_nonblocking(true).map_err(wrong)?;
        let wire = Wire::new(UnixStream::from_std(stream).map_err(wrong)?);
        let (ask, asked) = mpsc::unbounded_channel();
        let (say_addresses, addresses) = watch::channel(None);
        let (say_trouble, trouble) = watch::channel((0, None));
        let task = tokio::spawn(talk(wire, asked, say_addresses, say_trouble));
        Ok((Self { ask, addresses, trouble }, task))
    }

    /// This host's addresses, if they changed since this was last asked.
    pub(super) fn new_addresses(&mut self) -> Option<Vec<Ipv4Addr>> {
        if !self.addresses.has_changed().unwrap_or(false) {
            return None;
        }
        self.addresses.borrow_and_update().clone()
    }

    /// Waits for the first list of addresses.
    pub(super) async fn addresses(&mut self) -> Result<Vec<Ipv4Addr>> {
        let said = timeout(PATIENCE, self.addresses.wait_for(Option::is_some)).await;
        match said {
            Ok(Ok(addresses)) => Ok(addresses.clone().unwrap_or_default()),
            _ => Err(Error::io("ask", "the outer holder", "it does not say this host's addresses")),
        }
    }

    /// Ends pasta, and with it every connection out.
    pub(super) async fn close(&mut self) {
        let before = self.trouble.borrow_and_update().0;
        let _ = self.ask.send((ToOuter::Close, None));
        let _ = timeout(PATIENCE, self.trouble.wait_for(|(closed, _)| *closed > before)).await;
        // The kernel takes the interface down a moment after its last descriptor closes.
        let deadline = Instant::now() + PATIENCE;
        while super::bridge::interfaces().is_ok_and(|all| all.contains(OUTSIDE)) && Instant::now() < deadline
        {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts pasta and waits until there is a way out, or a reason why not.
    pub(super) async fn open(&mut self) -> Result<()> {
        let path = "/proc/self/ns/net";
        let namespace = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let _ = self.ask.send((ToOuter::Open, Some(namespace.into())));
        let deadline = Instant::now() + PATIENCE;
        while !has_way_out() && Instant::now() < deadline && self.trouble.borrow().1.is_none() {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Why there is no way out.
    pub(super) fn trouble(&self) -> Option<String> {
        if has_way_out() {
            return None;
        }
        let why = self.trouble.borrow().1.clone().unwrap_or_else(|| "pasta is starting".into());
        Some(format!("egress does not work: {why}"))
    }
}

/// Whether the default route leads through pasta.
fn has_way_out() -> bool {
    let table = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(OUTSIDE) && fields.next() == Some("00000000")
    })
}

async fn talk(
    mut wire: Wire,
    mut asked: mpsc::UnboundedReceiver<(ToOuter, Option<OwnedFd>)>,
    addresses: watch::Sender<Option<Vec<Ipv4Addr>>>,
    trouble: watch::Sender<(u64, Option<String>)>,
) {
    loop {
        tokio::select! {
            Some((ask, fd)) = asked.recv() => if wire.send(&ask, fd).await.is_err() { return },
            said = wire.receive::<FromOuter>() => match said {
                Ok(Some((FromOuter::Addresses { addresses: list }, _))) => { addresses.send_replace(Some(list)); }
                Ok(Some((FromOuter::Closed, _))) => trouble.send_modify(|(closed, why)| { *closed += 1; *why = None; }),
                Ok(Some((FromOuter::Failed { why }, _))) => trouble.send_modify(|(_, last)| *last = Some(why)),
                Ok(None) | Err(_) => return,
            },
        }
    }
}
