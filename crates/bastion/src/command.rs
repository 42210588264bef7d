//! The other end: runs one command on a machine, over a stream that leads to its SSH server.
//!
//! Both sides are known by certificates. The host's must be signed by the authority of hosts, name the machine, and be for
//! the key that the machine has: so an answer comes from this machine, or there is none.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Error, Result, Timestamp};
use russh::client::{Config, Handle, Handler, connect_stream};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, HashAlg, PrivateKey};
use russh::{ChannelMsg, Disconnect, Preferred, SshId, compression, kex};

use crate::gate::Target;

/// Which machine, as whom, and what.
pub struct Command {
    /// Public key of the authority of hosts.
    pub host_authority: KeyData,
    /// A name that the host's certificate must have.
    pub host: String,
    /// SHA-256 of the machine's host key, as OpenSSH prints it.
    pub host_key: String,
    pub user: String,
    pub key: PrivateKey,
    pub certificate: Certificate,
    pub command: String,
    /// Bytes of output; what says more is refused.
    pub limit: usize,
    pub now: Timestamp,
}

/// Runs it and gives what it wrote to its standard output. Bounded in size, not in time: see to that where you call it.
///
/// # Errors
/// Unavailable, with what went wrong: the connection, the host's certificate, the sign-in, the command.
pub async fn run(stream: Box<dyn Target>, command: Command) -> Result<Vec<u8>> {
    let config = Config {
        client_id: SshId::Standard("SSH-2.0-Hafen".into()),
        preferred: Preferred {
            kex: vec![
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_CLIENT,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            ]
            .into(),
            key: vec![Algorithm::Ed25519].into(),
            host_key_certificates: vec![Algorithm::Ed25519].into(),
            compression: vec![compression::NONE].into(),
            ..Preferred::default()
        },
        inactivity_timeout: Some(Duration::from_secs(120)),
        ..Config::default()
    };
    let host = Host {
        authority: command.host_authority,
        name: command.host,
        fingerprint: command.host_key,
        now: command.now,
    };
    let mut session = connect_stream(Arc::new(config), stream, host).await.map_err(Fault::told)?;
    let let_in = session
        .authenticate_openssh_cert(&command.user, Arc::new(command.key), command.certificate)
        .await
        .map_err(|error| Fault::Protocol(error).told())?;
    if !let_in.success() {
        return Err(Error::unavailable(format!(
            "its SSH server does not let the platform's certificate in as {}",
            command.user
        )));
    }
    let output = output(&session, &command.command, command.limit).await;
    // It may be closed already.
    let _gone = session.disconnect(Disconnect::ByApplication, "", "").await;
    output
}

async fn output(session: &Handle<Host>, command: &str, limit: usize) -> Result<Vec<u8>> {
    let broken = |error: russh::Error| Fault::Protocol(error).told();
    let mut channel = session.channel_open_session().await.map_err(broken)?;
    channel.exec(true, command).await.map_err(broken)?;
    let (mut out, mut said, mut status) = (Vec::new(), Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } if out.len() + data.len() > limit => {
                return Err(Error::unavailable(format!("it answers with more than {limit} bytes")));
            }
            ChannelMsg::Data { data } => out.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } if said.len() < 1000 => said.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            ChannelMsg::Failure => return Err(Error::unavailable("its SSH server runs no command for it")),
            _ => {}
        }
    }
    if status == Some(0) {
        return Ok(out);
    }
    let said: String = String::from_utf8_lossy(&said).chars().filter(|c| !c.is_control()).take(300).collect();
    let status = status.map_or("a signal".to_owned(), |status| format!("status {status}"));
    Err(Error::unavailable(format!("{command} ended with {status}: {said}")))
}

/// What the machine must prove.
struct Host {
    authority: KeyData,
    name: String,
    fingerprint: String,
    now: Timestamp,
}

#[derive(Debug)]
enum Fault {
    Protocol(russh::Error),
    Host(&'static str),
}

impl From<russh::Error> for Fault {
    fn from(error: russh::Error) -> Self {
        Self::Protocol(error)
    }
}

impl Fault {
    fn told(self) -> Error {
        match self {
            Self::Protocol(error) => {
                Error::unavailable(format!("its SSH server does not go along: {error}")).with_cause(error)
            }
            Self::Host(why) => Error::unavailable(format!("it does not prove to be that machine: {why}")),
        }
    }
}

impl Host {
    fn check(&self, shown: &PublicKeyOrCertificate) -> Result<(), &'static str> {
        let PublicKeyOrCertificate::Certificate(certificate) = shown else {
            return Err("its host key has no certificate");
        };
        let seconds = self.now.millis() / 1000;
        let authority = self.authority.fingerprint(HashAlg::Sha256);
        if certificate.cert_type() != CertType::Host
            || certificate.signature_key() != &self.authority
            || certificate.validate_at(seconds, [&authority]).is_err()
        {
            return Err("its host certificate is not a good one of the platform's authority");
        }
        if !certificate.valid_principals().contains(&self.name) {
            return Err("its host certificate has another name");
        }
        if certificate.public_key().fingerprint(HashAlg::Sha256).to_string() != self.fingerprint {
            return Err("its host key is not the one that it was given");
        }
        Ok(())
    }
}

impl Handler for Host {
    type Error = Fault;

    fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        let checked = self.check(shown);
        async move { checked.map(|()| true).map_err(Fault::Host) }
    }
}
