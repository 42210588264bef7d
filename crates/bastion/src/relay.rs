//! Carries bytes between a channel and a machine, each direction at its own pace.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::connection::State;
use crate::gate::{EndReason, Target};

/// Two of the largest packets.
const PIECE: usize = 64 << 10;

/// Bytes carried so far.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// Carries until both sides said that they are done, or one is gone.
pub(crate) async fn carry(
    incoming: &mut ChannelReadHalf,
    outgoing: &ChannelWriteHalf<Msg>,
    target: Box<dyn Target>,
    carried: &Carried,
    state: &State,
) -> EndReason {
    let (mut reader, mut writer) = tokio::io::split(target);
    // The client sends no more, or the machine takes no more.
    let one_way = Notify::new();
    let to_machine = async {
        let mut open = true;
        loop {
            match incoming.wait().await {
                Some(ChannelMsg::Data { data }) if open => {
                    if writer.write_all(&data).await.is_err() {
                        // What the machine still says is heard; what the client says goes nowhere.
                        open = false;
                        one_way.notify_one();
                        continue;
                    }
                    carried.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
                    state.touch();
                }
                Some(ChannelMsg::Eof) => {
                    one_way.notify_one();
                    if open && writer.shutdown().await.is_err() {
                        open = false;
                    }
                }
                Some(ChannelMsg::Close) | None => return EndReason::Client,
                Some(_) => {}
            }
        }
    };
    let to_client = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    if outgoing.data_bytes(buffer.split().freeze()).await.is_err() {
                        return;
                    }
                    carried.received.fetch_add(count as u64, Ordering::Relaxed);
                    state.touch();
                }
            }
        }
        // An error means that the connection is gone, which the other direction says, too.
        let _gone = outgoing.eof().await;
    };
    tokio::pin!(to_machine, to_client);
    tokio::select! {
        reason = &mut to_machine => return reason,
        () = &mut to_client => {}
    }
    // The client may go on sending until it says so, too; a machine that is gone shows at the next write.
    tokio::select! {
        reason = &mut to_machine => reason,
        () = one_way.notified() => EndReason::Target,
    }
}
