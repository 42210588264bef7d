//! A witness: remembers one checkpoint for each log it knows, and cosigns what continues it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hafen_base::{Clock, Error, Random, Result};
use hafen_tlog::{
    AddCheckpoint, Checkpoint, CosignatureSigner, Note, VerifierKey, empty_root, verify_consistency,
};
use http::{StatusCode, header};
use tokio::sync::Mutex;

use crate::{apart, files, keys};

/// What a witness is given.
pub struct WitnessServerConfig {
    /// Holds its key and what it saw.
    pub folder: PathBuf,
    /// As `witness.example/w1`.
    pub name: String,
    /// The logs it knows.
    pub logs: Vec<VerifierKey>,
    pub clock: Arc<dyn Clock>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Witness(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    signer: CosignatureSigner,
    logs: Vec<VerifierKey>,
    clock: Arc<dyn Clock>,
    /// One request at a time: what was seen is read, compared and written as one.
    turn: Mutex<()>,
}

/// The largest request: 63 lines of proof and a note.
const BODY_LIMIT: usize = 64 << 10;

/// What a request comes to.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Cosigned(String),
    /// The size of the last checkpoint seen.
    Conflict(u64),
    Refused(StatusCode, String),
}

impl Witness {
    /// # Errors
    /// Invalid when the name may not stand in a note, or the key is damaged.
    pub fn open(config: WitnessServerConfig, random: &dyn Random) -> Result<Self> {
        let signer = keys::witness(&config.folder, &config.name, random)?;
        Ok(Self(Arc::new(Inner {
            folder: config.folder,
            signer,
            logs: config.logs,
            clock: config.clock,
            turn: Mutex::new(()),
        })))
    }

    pub fn key(&self) -> &VerifierKey {
        self.0.signer.verifier()
    }

    /// `POST /add-checkpoint`. Whoever may send it proves itself by the log's signature.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self.clone())
    }

    /// Names of files may hold no slash; a hash of the origin is one that nobody can choose.
    fn seen_path(&self, origin: &str) -> PathBuf {
        use sha2::Digest as _;
        self.0.folder.join(format!("{}.seen", crate::model::hex(&sha2::Sha256::digest(origin))))
    }

    /// The last checkpoint that was cosigned.
    fn seen(path: &Path) -> Result<Option<Checkpoint>> {
        let Some(text) = files::read(path)? else { return Ok(None) };
        let note = Note::parse(text.as_bytes());
        let checkpoint = note.ok().and_then(|note| note.text.parse().ok());
        checkpoint.map(Some).ok_or_else(|| Error::invalid(format!("{} is damaged", path.display())))
    }

    async fn add(&self, body: &str) -> Result<Answer> {
        let refuse = |status, why: String| Ok(Answer::Refused(status, why));
        let request: AddCheckpoint = match body.parse() {
            Ok(request) => request,
            Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
        };
        let text = &request.checkpoint.text;
        let Ok(checkpoint) = text.parse::<Checkpoint>() else {
            return refuse(StatusCode::BAD_REQUEST, "the note is not a checkpoint".into());
        };
        let keys: Vec<&VerifierKey> =
            self.0.logs.iter().filter(|key| key.name() == checkpoint.origin).collect();
        if keys.is_empty() {
            return refuse(
                StatusCode::NOT_FOUND,
                format!("the log {:?} is not known here", checkpoint.origin),
            );
        }
        if let Err(error) = request.checkpoint.verify(&keys) {
            return refuse(StatusCode::FORBIDDEN, error.to_string());
        }
        if request.old > checkpoint.size {
            return refuse(StatusCode::BAD_REQUEST, "the old size is larger than the checkpoint's".into());
        }
        let _turn = self.0.turn.lock().await;
        let path = self.seen_path(&checkpoint.origin);
        let seen = Self::seen(&path)?;
        let (size, root) = seen.map_or((0, empty_root()), |seen| (seen.size, seen.root));
        if request.old != size {
            return Ok(Answer::Conflict(size));
        }
        if size == checkpoint.size && size > 0 && root != checkpoint.root {
            tracing::error!(origin = checkpoint.origin, size, "the log signed two histories: {body}");
            return Ok(Answer::Conflict(size));
        }
        if let Err(error) = verify_consistency(size, checkpoint.size, &root, &checkpoint.root, &request.proof)
        {
            tracing::error!(
                origin = checkpoint.origin,
                size,
                "a checkpoint that does not continue the last one: {body}"
            );
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
        }
        let note = request.checkpoint.to_string();
        apart::blocking(move || files::write(&path, note.as_bytes())).await?;
        let seconds = u64::try_from(self.0.clock.now().micros() / 1_000_000).unwrap_or(0);
        Ok(Answer::Cosigned(self.0.signer.cosign(text, seconds).to_string()))
    }
}

async fn add_checkpoint(State(witness): State<Witness>, body: String) -> Response {
    const TEXT: &str = "text/plain; charset=utf-8";
    match witness.add(&body).await {
        Ok(Answer::Cosigned(line)) => ([(header::CONTENT_TYPE, TEXT)], line).into_response(),
        Ok(Answer::Conflict(size)) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n"))
                .into_response()
        }
        Ok(Answer::Refused(status, why)) => {
            (status, [(header::CONTENT_TYPE, TEXT)], format!("{why}\n")).into_response()
        }
        Err(error) => {
            tracing::error!(cause = %error.cause_chain(), "{error}");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, TEXT)], "internal error\n")
                .into_response()
        }
    }
}
