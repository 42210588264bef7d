//! How many files and connections this process may have open: everything in it shares the one limit, so that what the edge takes
//! of it is counted out beforehand, and the API and the databases keep theirs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than the edge's most and all others can use. Programs that are started have the same limit, and some walk through all
/// that there could be.
const ENOUGH: u64 = 131_072;
/// For all but the edge: the API, databases, machines, the bastion.
const OTHERS: u64 = 512;

/// Raises the limit as far as it may be, and says what it is now. Shells and systemd set a low one, for programs older than `poll`.
pub fn raise() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if now.current.is_some_and(|current| current < most) {
        let wanted = Rlimit { current: Some(most), maximum: now.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!("the limit of open files cannot be raised to {most}: {error}");
        }
    }
    limit()
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH)
}

/// Connections of clients that the edge may hold by the limit as it is; twice as many to endpoints.
pub fn edge_connections() -> usize {
    connections(limit())
}

fn connections(limit: u64) -> usize {
    usize::try_from((limit.saturating_sub(OTHERS) / 3).clamp(32, 20_000)).unwrap_or(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_leaves_some() {
        for (limit, edge) in [(256, 32), (1024, 170), (4096, 1194), (524_288, 20_000)] {
            assert_eq!(connections(limit), edge, "{limit}");
        }
    }
}
