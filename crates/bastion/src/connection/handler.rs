//! What the SSH library calls for a client.

use std::sync::Arc;

use russh::keys::ssh_key::{Certificate, HashAlg};
use russh::server::{Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};

use super::{GIT_USER, State, open};
use crate::git;

/// The callbacks of `russh`. They run in the task that reads the connection, so that none of them waits for a machine.
pub(crate) struct Handler {
    state: Arc<State>,
}

impl Handler {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    async fn refuse_channel(&self, kind: &str, reply: ChannelOpenHandle) {
        self.state.refused("", None, "channel", format!("a channel of type {kind}")).await;
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }
}

impl russh::server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        if user == GIT_USER && key.public_key.key_data().ed25519().is_some() {
            let fingerprint = key.public_key.fingerprint(HashAlg::Sha256).to_string();
            match self.state.admit_key(fingerprint).await {
                Ok(true) => return Ok(Auth::Accept),
                Ok(false) => {}
                Err(error) => tracing::warn!(cause = %error.cause_chain(), "{error}"),
            }
        }
        self.state.refused(user, None, "key", "a key without a certificate".into()).await;
        Ok(Auth::reject())
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        match self.state.admit(user, certificate).await {
            Ok(()) => Ok(Auth::Accept),
            Err(error) => {
                self.state.refused(user, Some(certificate), "certificate", error.to_string()).await;
                Ok(Auth::reject())
            }
        }
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(place) = self.state.channel_place() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let (Some(port), true) = (port, host.len() <= 255) else {
            self.state.refused("", None, "target", "no such name or port can be".into()).await;
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        let work = open(Arc::clone(&self.state), channel, host.to_owned(), port, reply);
        self.state.tasks.spawn(async move {
            work.await;
            drop(place);
        });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(git) = self.state.shared.git.clone() else {
            self.refuse_channel("session", reply).await;
            return Ok(());
        };
        let Some(place) = self.state.channel_place() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let state = Arc::clone(&self.state);
        self.state.tasks.spawn(async move {
            match state.git_caller().await {
                Ok(caller) => {
                    reply.accept().await;
                    state.touch();
                    git::serve(state, git, caller, channel).await;
                }
                Err(error) => {
                    state.refused("", None, "channel", format!("git: {error}")).await;
                    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                }
            }
            drop(place);
        });
        Ok(())
    }

    // What a session channel is asked for is told to its task as well (`git::serve`); here it is only answered. A terminal, a
    // forwarded agent and the like are not given.

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_channel("x11", reply).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_channel("forwarded-tcpip", reply).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse_channel("direct-streamlocal@openssh.com", reply).await;
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        _address: &str,
        _port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.state.refused("", None, "forward", "a port to be forwarded back".into()).await;
        Ok(false)
    }

    async fn streamlocal_forward(
        &mut self,
        _path: &str,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.state.refused("", None, "forward", "a socket to be forwarded back".into()).await;
        Ok(false)
    }
}
