//! Carries bytes between two connections.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

/// A connection over which nothing went either way for this long is closed.
const IDLE: Duration = Duration::from_secs(30 * 60);
const CHUNK: usize = 16 << 10;

/// Carries bytes both ways until both sides have ended, one failed, or nothing moves any more.
/// The end of one direction is passed on, while the other goes on.
pub(super) async fn relay(mut client: TcpStream, mut backend: TcpStream) {
    for stream in [&client, &backend] {
        // A request and its answer must not wait for one another; a peer that vanished is noticed.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
    }
    let moved = AtomicBool::new(false);
    let (from_client, to_client) = client.split();
    let (from_backend, to_backend) = backend.split();
    let both = async {
        tokio::try_join!(pump(from_client, to_backend, &moved), pump(from_backend, to_client, &moved))
    };
    tokio::select! {
        _ = both => {}
        () = idle(&moved) => {}
    }
}

async fn idle(moved: &AtomicBool) {
    loop {
        sleep(IDLE).await;
        if !moved.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}

async fn pump(from: ReadHalf<'_>, mut to: WriteHalf<'_>, moved: &AtomicBool) -> io::Result<()> {
    loop {
        from.readable().await?;
        // A buffer only while there are bytes: most of a thousand connections are silent.
        let mut buffer = Vec::with_capacity(CHUNK);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return to.shutdown().await,
            Ok(_) => to.write_all(&buffer).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        moved.store(true, Ordering::Relaxed);
    }
}
