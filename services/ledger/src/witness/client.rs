//! Asking witnesses to cosign the last checkpoint, with the proof that it continues what they saw.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hafen_base::{Error, Result};
use hafen_db::store_error;
use hafen_tlog::{AddCheckpoint, Cosigned, Note, consistency_proof};
use hafen_work::{Next, Reconciler};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::WitnessConfig;
use crate::Ledger;
use crate::store::checkpoint::{self, CosignatureRow};

/// A witness that takes longer is asked again later.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reconciler that keeps cosignatures up to date: one key for each witness.
pub struct Submit(pub Ledger);

#[async_trait]
impl Reconciler for Submit {
    fn name(&self) -> &'static str {
        "ledger.witness"
    }

    async fn pending(&self) -> Result<Vec<String>> {
        Ok(self.0.0.witnesses.iter().map(|witness| witness.key.name().to_owned()).collect())
    }

    async fn reconcile(&self, key: &str) -> Result<Next> {
        let parts = &self.0.0;
        let Some(witness) = parts.witnesses.iter().find(|witness| witness.key.name() == key) else {
            return Ok(Next::Done);
        };
        let Ok(shard) = self.0.shard_present().await else { return Ok(Next::Done) };
        let Some(head) = checkpoint::get(parts.db.reader(), shard.id).await? else { return Ok(Next::Done) };
        let known = checkpoint::cosignatures(parts.db.reader(), shard.id).await?;
        let mut old = known.iter().find(|row| row.witness == key).map_or(0, |row| row.size);
        if old == head.size && head.size > 0 {
            return Ok(Next::Done);
        }
        let note = Note::parse(head.note.as_bytes()).map_err(Error::internal)?;
        // The second time with the size that the witness names.
        for _ in 0..2 {
            let proof = self
                .0
                .over_tree(shard.id, head.size, |tiles| consistency_proof(old, head.size, tiles))
                .await?;
            let request = AddCheckpoint { old, proof, checkpoint: note.clone() };
            let (status, body) = send(witness, &request).await?;
            match status {
                StatusCode::OK => {
                    let line = cosignature(witness, &note, &body)?;
                    let row = CosignatureRow { witness: key.to_owned(), size: head.size, line };
                    let mut tx = parts.db.write().await?;
                    checkpoint::cosignature_put(&mut tx, shard.id, &row).await?;
                    tx.commit().await.map_err(store_error)?;
                    return Ok(Next::Done);
                }
                StatusCode::CONFLICT => {
                    let size: u64 = body.trim().parse().map_err(|_| refused(witness, status, &body))?;
                    if size > head.size {
                        // Both the database and the place apart are older than what was signed.
                        let why = format!(
                            "the witness {key} saw shard {} with {size} entries, and here there are {}: this log was rolled back. \
                             Bring back the newest state, or begin another shard with: hafen ledger begin --reason TEXT",
                            shard.name, head.size
                        );
                        parts.refuse(&why);
                        return Err(Error::unavailable(why));
                    }
                    if size == old {
                        // It has another checkpoint of this very size.
                        let why = format!(
                            "the witness {key} saw another history of shard {} of the same length",
                            shard.name
                        );
                        parts.refuse(&why);
                        return Err(Error::unavailable(why));
                    }
                    old = size;
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let why = format!(
                        "the witness {key} saw another history of shard {}: {}",
                        shard.name,
                        body.trim()
                    );
                    parts.refuse(&why);
                    return Err(Error::unavailable(why));
                }
                _ => return Err(refused(witness, status, &body)),
            }
        }
        // It moved on between the two: another replica of ours was faster.
        Ok(Next::Now)
    }

    fn sweep(&self) -> Duration {
        Duration::from_secs(30)
    }
}

fn refused(witness: &WitnessConfig, status: StatusCode, body: &str) -> Error {
    let said: String = body.trim().chars().take(200).collect();
    Error::unavailable(format!(
        "the witness {} at {} answered {status}: {said}",
        witness.key.name(),
        witness.url
    ))
}

/// The line of this witness in its answer, checked.
fn cosignature(witness: &WitnessConfig, note: &Note, body: &str) -> Result<String> {
    let with = Note::parse(format!("{note}{body}").as_bytes());
    let found = with.and_then(|with| Cosigned::of(&with, std::slice::from_ref(&witness.key)));
    let line = found.ok().and_then(|found| found.into_iter().next()).map(|found| found.line.to_string());
    line.ok_or_else(|| {
        Error::unavailable(format!(
            "the witness {} answered without a cosignature of its key",
            witness.key.name()
        ))
    })
}

async fn send(witness: &WitnessConfig, request: &AddCheckpoint) -> Result<(StatusCode, String)> {
    let away = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::unavailable(format!("the witness {} does not answer at {}", witness.key.name(), witness.url))
            .with_cause(cause)
    };
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(PATIENCE));
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/add-checkpoint", witness.url))
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(request.to_string())))
        .map_err(|error| away(error.into()))?;
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| away(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), 64 << 10).collect().await.map_err(away)?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|late| away(late.into()))?
}
