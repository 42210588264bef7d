//! A terminal on a machine: what somebody types goes there, what it shows comes back.

use bytes::Bytes;
use hafen_base::{Error, Result};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty};
use tokio::sync::mpsc;

use crate::session::{Ended, Session};

/// What programs there think they write to; terminals in browsers understand it.
const TERM: &str = "xterm-256color";

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: u32,
    pub rows: u32,
}

/// What somebody does at a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    Bytes(Bytes),
    Resized(Size),
}

/// A shell that was begun.
pub struct Shell {
    session: Session,
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
}

impl Session {
    /// Begins a shell in a terminal of this size. It is the only thing on this connection.
    ///
    /// # Errors
    /// Unavailable when the machine gives no terminal or no shell.
    pub async fn shell(self, size: Size) -> Result<Shell> {
        let broken = |error| Error::unavailable("the connection to the machine broke off").with_cause(error);
        let channel = self.channel().await?;
        let (mut reader, writer) = channel.split();
        // Rubbing out takes whole characters.
        let modes = [(Pty::IUTF8, 1)];
        writer.request_pty(true, TERM, size.columns, size.rows, 0, 0, &modes).await.map_err(broken)?;
        agreed(&mut reader, "terminal").await?;
        writer.request_shell(true).await.map_err(broken)?;
        agreed(&mut reader, "shell").await?;
        Ok(Shell { session: self, reader, writer })
    }
}

async fn agreed(reader: &mut ChannelReadHalf, what: &str) -> Result<()> {
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            Some(_) | None => {
                return Err(Error::unavailable(format!("the machine's SSH server gives no {what}")));
            }
        }
    }
}

impl Shell {
    /// Carries both ways until the shell ends, or nobody listens to it any more.
    ///
    /// # Errors
    /// Unavailable when the connection breaks.
    pub async fn run(
        mut self,
        mut typed: mpsc::Receiver<Typed>,
        heard: mpsc::Sender<Bytes>,
    ) -> Result<Ended> {
        let writer = &self.writer;
        let to_machine = async {
            while let Some(typed) = typed.recv().await {
                let sent = match typed {
                    Typed::Bytes(bytes) => writer.data_bytes(bytes).await,
                    Typed::Resized(size) => writer.window_change(size.columns, size.rows, 0, 0).await,
                };
                if sent.is_err() {
                    break;
                }
            }
            // What it still says is heard.
            std::future::pending::<()>().await;
        };
        let reader = &mut self.reader;
        let from_machine = async {
            let mut ended = None;
            while let Some(message) = reader.wait().await {
                match message {
                    ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                        let gone = heard.send(data).await.is_err();
                        if gone {
                            return Ok(Ended::Otherwise);
                        }
                    }
                    ChannelMsg::ExitStatus { exit_status } => ended = Some(Ended::Status(exit_status)),
                    ChannelMsg::ExitSignal { .. } => ended = Some(Ended::Otherwise),
                    // A program that it left behind may keep the channel open for ever; the shell is over.
                    ChannelMsg::Eof | ChannelMsg::Close if ended.is_some() => break,
                    _ => {}
                }
            }
            ended.ok_or_else(|| Error::unavailable("the connection to the machine broke off"))
        };
        let ended = tokio::select! {
            ended = from_machine => ended,
            () = to_machine => Ok(Ended::Otherwise),
        };
        self.session.close().await;
        ended
    }
}
