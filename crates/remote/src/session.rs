//! One connection to a machine's SSH server, and commands over it, one or several at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hafen_base::{Error, Result, Timestamp};
use russh::client::{Config, Handle, Handler, Msg, connect_stream};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, HashAlg, PrivateKey};
use russh::{Channel, ChannelMsg, Disconnect, Preferred, SshId, compression, kex};
use tokio::io::{AsyncRead, AsyncWrite};

/// A way to a machine's SSH server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a command reads.
pub trait Input: AsyncRead + Send + Unpin {}

impl<T: AsyncRead + Send + Unpin> Input for T {}

/// Which machine, and as whom.
pub struct Login {
    /// Public key of the authority of hosts.
    pub host_authority: KeyData,
    /// A name that the host's certificate must have.
    pub host: String,
    /// SHA-256 of the machine's host key, as OpenSSH prints it.
    pub host_key: String,
    pub user: String,
    pub key: PrivateKey,
    pub certificate: Certificate,
    pub now: Timestamp,
}

/// Takes what a command says, as it says it. What it refuses ends the command's channel.
#[async_trait]
pub trait Sink: Send {
    /// From standard output.
    ///
    /// # Errors
    /// When it takes no more; the run ends with it.
    async fn out(&mut self, bytes: &[u8]) -> Result<()>;

    /// From standard error.
    ///
    /// # Errors
    /// As above.
    async fn err(&mut self, bytes: &[u8]) -> Result<()>;
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Status(u32),
    /// By a signal, or with the connection.
    Otherwise,
}

impl Ended {
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Status(0))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Otherwise => f.write_str("a signal"),
        }
    }
}

/// A sink that keeps what is said, up to a limit of each.
#[derive(Debug, Default)]
pub struct Collected {
    pub out: Vec<u8>,
    /// The first of it.
    pub err: Vec<u8>,
    limit: usize,
}

impl Collected {
    /// At most so many bytes of standard output; more is refused.
    #[must_use]
    pub const fn up_to(limit: usize) -> Self {
        Self { out: Vec::new(), err: Vec::new(), limit }
    }

    /// The first words of standard error, for a message.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        let text = text.trim().replace('\n', "; ");
        text.chars().filter(|c| !c.is_control()).take(600).collect()
    }
}

#[async_trait]
impl Sink for Collected {
    async fn out(&mut self, bytes: &[u8]) -> Result<()> {
        if self.out.len() + bytes.len() > self.limit {
            return Err(Error::unavailable(format!("it answers with more than {} bytes", self.limit)));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    async fn err(&mut self, bytes: &[u8]) -> Result<()> {
        if self.err.len() < 2000 {
            self.err.extend_from_slice(bytes);
        }
        Ok(())
    }
}

/// A connection on which somebody is logged in.
pub struct Session {
    handle: Handle<Host>,
}

impl Session {
    /// Connects and logs in. Not bounded in time: see to that where you call it.
    ///
    /// # Errors
    /// Unavailable, with what went wrong: the connection, the host's certificate, the sign-in.
    pub async fn open(stream: Box<dyn Stream>, login: Login) -> Result<Self> {
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
            // A machine that died under a command that says nothing for long is noticed.
            keepalive_interval: Some(Duration::from_secs(15)),
            keepalive_max: 4,
            ..Config::default()
        };
        let host = Host {
            authority: login.host_authority,
            name: login.host,
            fingerprint: login.host_key,
            now: login.now,
        };
        let mut handle = connect_stream(Arc::new(config), stream, host).await.map_err(Fault::told)?;
        let let_in = handle
            .authenticate_openssh_cert(&login.user, Arc::new(login.key), login.certificate)
            .await
            .map_err(|error| Fault::Protocol(error).told())?;
        if !let_in.success() {
            return Err(Error::unavailable(format!(
                "its SSH server does not let the platform's certificate in as {}",
                login.user
            )));
        }
        Ok(Self { handle })
    }

    /// Runs a command: `input` is its standard input to the end; what it says goes to `sink`. Several may run at a time.
    ///
    /// # Errors
    /// Unavailable when the connection breaks; the sink's.
    pub async fn run(
        &self,
        command: &str,
        input: Option<Box<dyn Input>>,
        sink: &mut dyn Sink,
    ) -> Result<Ended> {
        let broken = |error: russh::Error| Fault::Protocol(error).told();
        let channel = self.channel().await?;
        channel.exec(true, command).await.map_err(broken)?;
        let (mut reader, writer) = channel.split();
        let feed = async {
            if let Some(input) = input {
                // A command that ends before it read everything is no failure of ours: its status tells.
                let _early = writer.data(input).await;
            }
            let _early = writer.eof().await;
            std::future::pending::<Result<Ended>>().await
        };
        let hear = async {
            let mut ended = Ended::Otherwise;
            while let Some(message) = reader.wait().await {
                match message {
                    ChannelMsg::Data { data } => sink.out(&data).await?,
                    ChannelMsg::ExtendedData { data, .. } => sink.err(&data).await?,
                    ChannelMsg::ExitStatus { exit_status } => ended = Ended::Status(exit_status),
                    ChannelMsg::Failure => {
                        return Err(Error::unavailable("its SSH server runs no command for it"));
                    }
                    _ => {}
                }
            }
            if ended == Ended::Otherwise && self.is_closed() {
                return Err(Error::unavailable("the connection to the machine broke off"));
            }
            Ok(ended)
        };
        let ended = tokio::select! {
            ended = hear => ended,
            ended = feed => ended,
        };
        // Nothing of it stays on a connection that goes on. What still comes is let go of first, or nothing more would be sent.
        drop(reader);
        if ended.is_err() {
            let _gone = writer.close().await;
        }
        ended
    }

    pub(crate) async fn channel(&self) -> Result<Channel<Msg>> {
        self.handle.channel_open_session().await.map_err(|error| Fault::Protocol(error).told())
    }

    /// What a command without input says, which must succeed.
    ///
    /// # Errors
    /// As for [`Session::run`]; unavailable with what it complained of when it fails or says more than `limit` bytes.
    pub async fn output(&self, command: &str, limit: usize) -> Result<Vec<u8>> {
        let mut said = Collected::up_to(limit);
        let ended = self.run(command, None, &mut said).await?;
        if ended.is_success() {
            return Ok(said.out);
        }
        let first: String = command.chars().take(100).collect();
        Err(Error::unavailable(format!("{first} ended with {ended}: {}", said.complaint())))
    }

    /// Whether nothing can run over it any more.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye.
    pub async fn close(self) {
        // It may be closed already.
        let _gone = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }
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
