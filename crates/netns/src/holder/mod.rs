//! The process that holds a network.
//!
//! It is two processes, because a network has an inside and an outside:
//!
//! - *outer* stays in the network namespace of whoever started it. It only starts *inner*, and
//!   `pasta`, which needs a foot on either side (`outer.rs`).
//! - *inner* lives in the network's namespace with the bridge, the taps, dnsmasq and the firewall,
//!   and serves the control socket (`inner.rs`).
//!
//! Either one dies with the other. Everything in here must work without a control plane.

mod bridge;
mod firewall;
mod inner;
mod link;
mod lookups;
mod names;
mod nflog;
mod outer;
mod program;
mod publish;
mod records;
mod relay;
mod serve;
mod state;

pub(crate) use program::{package, path as search_path};

use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// What a holder says on standard output when its network works. Otherwise it says an [`Error`].
pub(crate) const READY: &str = "ready\n";

/// What a holder says that finds another one in its place.
pub(crate) const RUNS_ALREADY: &str = "runs already";

/// Set for inner by outer. Its standard input is then the connection between the two.
const INSIDE: &str = "HAFEN_NETNS_INSIDE";

/// Holds the network of `folder` until it is told to stop. To be called before any thread is
/// started or file opened: it closes all descriptors but the standard ones.
pub fn run(folder: &Path) -> Result<()> {
    // A runtime's threads would lose the descriptors they wait on.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        let message = format!("a holder has to be run before any thread is started; there are {threads}");
        return Err(Error::Invalid { message });
    }
    crate::sys::close_inherited();
    // A restricted or a careless umask of whoever started us must not matter.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let result = if std::env::var_os(INSIDE).is_some() { inner::run(folder) } else { outer::run() };
    if let Err(error) = &result {
        say(&serde_json::to_string(error).unwrap_or_default());
    }
    result
}

/// Tells whoever waits for us, and hangs up: they wait for the end of our output.
fn say(text: &str) {
    let mut output = std::io::stdout();
    // Nobody may be listening any more.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    hang_up();
}

fn hang_up() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start", "the holder", error))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_threads_is_no_holder() {
        let run = || super::run(std::path::Path::new("/nowhere"));
        let error = std::thread::spawn(run).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("before any thread"), "{error}");
    }
}
