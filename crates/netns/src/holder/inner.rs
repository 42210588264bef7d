//! The half of a holder that lives in the network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Clock, SystemClock};
use rustix::process::{Resource, Rlimit, Signal};
use tokio::net::UnixListener;
use tokio::time::{MissedTickBehavior, interval};

use super::link::Link;
use super::serve::{self, Shared};
use super::state::State;
use super::{READY, RUNS_ALREADY, runtime, say};
use crate::folder::{self, ALIVE, HOLDER, Lock, SOCKET, SocketDir};
use crate::{Error, Result};

/// How often to look at what changes by itself; less often while that fails.
const PULSE: Duration = Duration::from_millis(500);

pub(super) fn run(folder: &Path) -> Result<()> {
    // Outer dies: so do we. Its end of the connection closes too, in case it died before this.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Error::io("follow", "the outer holder", error))?;
    raise_limits();
    let id = folder.file_name().unwrap_or_default().to_string_lossy();
    let lock = Lock::attempt(&folder.join(ALIVE))?;
    let _alive = lock.ok_or_else(|| Error::holder(&id, RUNS_ALREADY))?;
    runtime()?.block_on(hold(folder))
}

async fn hold(folder: &Path) -> Result<()> {
    let pid = std::process::id();
    let generation = format!("{:x}-{pid:x}", SystemClock.now().micros());
    let (link, mut outer) = Link::start()?;
    let state = State::build(folder, generation.clone(), link).await?;
    let listener = bind(folder)?;
    let about = serde_json::json!({"pid": pid, "generation": generation, "started": SystemClock.now()});
    folder::write_json(&folder.join(HOLDER), &about)?;
    let shared = Arc::new(Shared::new(state));
    say(READY);

    let mut failures = 0;
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            connection = listener.accept() => match connection {
                Ok((stream, _)) => { tokio::spawn(serve::connection(shared.clone(), stream)); }
                // Out of descriptors: wait for connections to end in place of spinning.
                Err(error) => {
                    eprintln!("cannot accept on the control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = pulse.tick() => {
                let tended = shared.state.lock().await.tend().await;
                let wait = match tended {
                    Ok(()) => { failures = 0; PULSE }
                    Err(error) => {
                        failures += 1;
                        eprintln!("{error}");
                        PULSE * 2_u32.pow(failures.min(6))
                    }
                };
                pulse.reset_after(wait);
            }
            _ = &mut outer => return Ok(()),
            () = shared.stop.notified() => return Ok(()),
        }
    }
}

fn bind(folder: &Path) -> Result<UnixListener> {
    let path = folder.join(SOCKET);
    folder::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
    let sockets = SocketDir::open(folder)?;
    // Only its owner may connect: the umask is set for that.
    UnixListener::bind(sockets.path(SOCKET)).map_err(|error| Error::io("listen on", &path, error))
}

/// Each published connection takes two descriptors.
fn raise_limits() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}
