//! Git over SSH: the one thing besides machines that is reached here. A session channel runs `git-upload-pack` or
//! `git-receive-pack` and nothing else; what runs it, and for whom, a [`Git`] says.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Actor, Result};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf};
use tokio::sync::mpsc;

use crate::connection::State;

/// Who wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitCaller {
    /// Of a certificate that is good now, and the projects that it names.
    Person { actor: Actor, projects: Vec<String> },
    /// Of a key that `Git::knows`.
    Key { fingerprint: String, address: IpAddr },
}

/// What a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitOutput {
    Out(Bytes),
    Err(Bytes),
}

/// Runs the commands.
#[async_trait]
pub trait Git: Send + Sync + 'static {
    /// Whether a key (SHA-256, as OpenSSH prints it) opens any repository.
    ///
    /// # Errors
    /// When it cannot be told; then it does not.
    async fn knows(&self, fingerprint: &str) -> Result<bool>;

    /// Runs a command as the client wrote it, and gives its exit status. `protocol` is what the client said in `GIT_PROTOCOL`.
    ///
    /// # Errors
    /// Any: the client is told its message.
    async fn run(
        &self,
        caller: GitCaller,
        command: String,
        protocol: Option<String>,
        input: mpsc::Receiver<Bytes>,
        output: mpsc::Sender<GitOutput>,
    ) -> Result<u32>;
}

/// What a client said before its command.
#[derive(Debug, Default)]
pub(crate) struct Session {
    protocol: Option<String>,
}

/// Longest command: a verb and the path of a repository.
const LONGEST: usize = 1000;
/// Pieces on their way, each way.
const AHEAD: usize = 16;

/// Serves one session channel to its end.
pub(crate) async fn serve(state: Arc<State>, git: Arc<dyn Git>, caller: GitCaller, channel: Channel<Msg>) {
    let (mut incoming, outgoing) = channel.split();
    let status = tokio::select! {
        status = session(&state, &*git, caller, &mut incoming, &outgoing) => status,
        _ = state.ended() => return,
    };
    // When the connection is gone, so is the channel.
    let _gone = outgoing.exit_status(status).await;
    let _gone = outgoing.eof().await;
    let _gone = outgoing.close().await;
}

async fn say(outgoing: &russh::ChannelWriteHalf<Msg>, text: &str) {
    // Nobody listens any more, or they hear it.
    let _gone = outgoing.extended_data_bytes(1, Bytes::from(format!("{text}\n"))).await;
}

async fn session(
    state: &State,
    git: &dyn Git,
    caller: GitCaller,
    incoming: &mut ChannelReadHalf,
    outgoing: &russh::ChannelWriteHalf<Msg>,
) -> u32 {
    let mut before = Session::default();
    let command = loop {
        match incoming.wait().await {
            Some(ChannelMsg::SetEnv { variable_name, variable_value, .. }) => {
                if variable_name == "GIT_PROTOCOL" {
                    before.protocol = Some(variable_value);
                }
            }
            Some(ChannelMsg::Exec { command, .. }) => break command,
            Some(ChannelMsg::RequestShell { .. } | ChannelMsg::RequestSubsystem { .. }) => {
                say(
                    outgoing,
                    "You are known here, and there is no shell: git clone, fetch and push are what there is.",
                )
                .await;
                return 1;
            }
            Some(ChannelMsg::Close | ChannelMsg::Eof) | None => return 1,
            Some(_) => {}
        }
    };
    let command = match String::from_utf8(command) {
        Ok(command) if command.len() <= LONGEST && !command.contains('\0') => command,
        _ => {
            say(outgoing, "Hafen: no such command").await;
            return 1;
        }
    };
    let (to_git, input) = mpsc::channel(AHEAD);
    let (output, mut from_git) = mpsc::channel(AHEAD);
    let feed = async move {
        let mut to_git = Some(to_git);
        while let Some(message) = incoming.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    state.touch();
                    if let Some(open) = &to_git
                        && open.send(data).await.is_err()
                    {
                        to_git = None;
                    }
                }
                ChannelMsg::Eof => to_git = None,
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        // The client closed its channel or is gone: git hears the end, and ends.
        drop(to_git);
        std::future::pending::<()>().await;
    };
    let tell = async move {
        while let Some(piece) = from_git.recv().await {
            state.touch();
            let told = match piece {
                GitOutput::Out(bytes) => outgoing.data_bytes(bytes).await,
                GitOutput::Err(bytes) => outgoing.extended_data_bytes(1, bytes).await,
            };
            if told.is_err() {
                break;
            }
        }
    };
    let run = git.run(caller, command, before.protocol, input, output);
    let (run, ()) = tokio::select! {
        done = async { tokio::join!(run, tell) } => done,
        () = feed => return 1,
    };
    match run {
        Ok(status) => status,
        Err(error) => {
            tracing::info!(cause = %error.cause_chain(), "{error}");
            say(outgoing, &format!("Hafen: {error}")).await;
            128
        }
    }
}
