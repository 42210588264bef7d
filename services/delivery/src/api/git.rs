//! Git over HTTP ("smart", gitprotocol-http): a stock client fetches from and pushes to `/git/PROJECT/REPOSITORY.git`.
//!
//! Bodies go through as they come, both ways. Not in the API document: git is its own description.

use std::io;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt as _};
use hafen_base::{Actor, ActorKind, Error, ErrorKind, Result};
use hafen_git::{Exchange, Piece, Rpc, Service};
use hafen_http::{ApiResult, Path, Query, Roles};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::StreamBody;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;

use crate::Delivery;
use crate::app::push::PushGate;
use crate::model::Pusher;

/// Pieces on their way to a client that reads slowly.
const AHEAD: usize = 8;
/// Beyond what a repository may have: so that who is a little above hears by how much, and who is far above is cut off.
const SLACK: i64 = 64 << 20;

pub(super) fn routes() -> OpenApiRouter<Delivery> {
    OpenApiRouter::new()
        .route("/git/{project}/{repository}/info/refs", get(references))
        .route("/git/{project}/{repository}/git-upload-pack", post(upload_pack))
        .route("/git/{project}/{repository}/git-receive-pack", post(receive_pack))
        .layer(DefaultBodyLimit::disable())
}

#[derive(Debug, Deserialize)]
struct ServiceQuery {
    service: Option<String>,
}

/// `shop` of `shop.git`; git's clients write either.
fn name_of(repository: &str) -> &str {
    repository.strip_suffix(".git").unwrap_or(repository)
}

fn protocol(headers: &HeaderMap) -> Option<String> {
    headers.get("git-protocol").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Whether a client asks for the second version of the protocol.
fn is_second(protocol: Option<&str>) -> bool {
    protocol.is_some_and(|text| text.split(':').any(|part| part == "version=2"))
}

/// A line of the protocol with its length before it (gitprotocol-common).
fn packet(line: &str) -> Bytes {
    let mut packet = BytesMut::new();
    packet.put_slice(format!("{:04x}{line}0000", line.len() + 4).as_bytes());
    packet.freeze()
}

async fn references(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    Query(query): Query<ServiceQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let service = query.service.as_deref().and_then(Service::named).ok_or_else(|| {
        Error::new(ErrorKind::Forbidden, "only git's smart protocol is spoken here: use git 1.6.6 or newer")
    })?;
    let (_, folder) = delivery.repository_ready(&project, name_of(&repository)).await?;
    let protocol = protocol(&headers).filter(|_| service == Service::UploadPack);
    let first = (!is_second(protocol.as_deref())).then(|| packet(&format!("# service={}\n", service.name())));
    let exchange = Exchange { service, rpc: Rpc::Advertise, protocol, largest: None, gate: None };
    let begun = delivery.0.git.exchange(&folder, exchange).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    // Ends with the answer.
    let carried = tokio::spawn(async move { begun.carry(stream::empty().boxed(), sender).await.map(drop) });
    let kind = format!("application/x-{}-advertisement", service.name());
    Ok(answer(receiver, carried, first, &kind).await?)
}

async fn upload_pack(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    request: Request,
) -> ApiResult<Response> {
    let (headers, input) = body(request, Service::UploadPack)?;
    let (_, folder) = delivery.repository_ready(&project, name_of(&repository)).await?;
    let exchange = Exchange {
        service: Service::UploadPack,
        rpc: Rpc::Request,
        protocol: protocol(&headers),
        largest: None,
        gate: None,
    };
    let begun = delivery.0.git.exchange(&folder, exchange).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let carried = tokio::spawn(async move { begun.carry(input, sender).await.map(drop) });
    Ok(answer(receiver, carried, None, "application/x-git-upload-pack-result").await?)
}

async fn receive_pack(
    State(delivery): State<Delivery>,
    Path((project, repository)): Path<(String, String)>,
    request: Request,
) -> ApiResult<Response> {
    let actor = Actor::current();
    let roles = request.extensions().get::<Roles>().cloned().unwrap_or_default().0;
    let pusher = Pusher { roles, all: actor.kind == ActorKind::LocalOperator };
    let (_, input) = body(request, Service::ReceivePack)?;
    let (row, folder) = delivery.repository_ready(&project, name_of(&repository)).await?;
    let room = (row.repository.size_limit - row.repository.size).max(0).saturating_add(SLACK);
    let gate = PushGate::new(delivery.clone(), row.repository, actor.clone(), pusher);
    let exchange = Exchange {
        service: Service::ReceivePack,
        rpc: Rpc::Request,
        protocol: None,
        largest: u64::try_from(room).ok(),
        gate: Some(gate.clone()),
    };
    let begun = delivery.0.git.exchange(&folder, exchange).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    // Goes on when the client has gone: what git was permitted is told, whoever hears its answer.
    let carried = tokio::spawn(actor.acts(async move {
        let carried = begun.carry(input, sender.clone()).await;
        gate.tell().await;
        // Only now is the answer at its end: who pushed finds what comes of it.
        drop(sender);
        carried.map(drop)
    }));
    Ok(answer(receiver, carried, None, "application/x-git-receive-pack-result").await?)
}

/// The headers and the bytes of a request, unpacked.
fn body(request: Request, service: Service) -> Result<(HeaderMap, BoxStream<'static, io::Result<Bytes>>)> {
    let (parts, body) = request.into_parts();
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let wanted = format!("application/x-{}-request", service.name());
    if text(header::CONTENT_TYPE) != Some(wanted.as_str()) {
        return Err(Error::new(ErrorKind::UnsupportedMediaType, format!("git sends {wanted} here")));
    }
    let bytes = body.into_data_stream().map(|bytes| bytes.map_err(io::Error::other)).boxed();
    let bytes = match text(header::CONTENT_ENCODING).unwrap_or("identity") {
        "identity" => bytes,
        "gzip" | "x-gzip" => super::gunzip::gunzip(bytes),
        _ => return Err(Error::new(ErrorKind::UnsupportedMediaType, "of encodings only gzip is known here")),
    };
    Ok((parts.headers, bytes))
}

/// The answer, once git has said its first word or ended well without one.
async fn answer(
    mut pieces: mpsc::Receiver<Piece>,
    carried: JoinHandle<Result<()>>,
    first: Option<Bytes>,
    kind: &str,
) -> Result<Response> {
    let word = next(&mut pieces).await;
    let mut carried = Some(carried);
    if word.is_none()
        && let Some(carried) = carried.take()
    {
        // A client that is about to send much asks with an empty request whether it may; to that git says nothing.
        carried.await.map_err(Error::internal)??;
    }
    let before = first.into_iter().chain(word).map(Ok::<_, io::Error>);
    let rest = stream::unfold((pieces, carried), |(mut pieces, mut carried)| async move {
        if let Some(bytes) = next(&mut pieces).await {
            return Some((Ok(bytes), (pieces, carried)));
        }
        // What was broken off must not look whole.
        match carried.take()?.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((Err(io::Error::other(error.to_string())), (pieces, None))),
            Err(error) => Some((Err(io::Error::other(error)), (pieces, None))),
        }
    });
    let frames = stream::iter(before).chain(rest).map(|bytes| bytes.map(http_body::Frame::data));
    let mut response = Body::new(StreamBody::new(frames)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).map_err(Error::internal)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"));
    Ok(response)
}

/// What git says by the protocol; what it says beside it has no place in HTTP.
async fn next(pieces: &mut mpsc::Receiver<Piece>) -> Option<Bytes> {
    loop {
        match pieces.recv().await? {
            Piece::Out(bytes) => return Some(bytes),
            Piece::Err(bytes) => {
                tracing::debug!("git: {}", String::from_utf8_lossy(&bytes).trim_end());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet() {
        assert_eq!(&packet("# service=git-upload-pack\n")[..], b"001e# service=git-upload-pack\n0000");
        assert!(
            is_second(Some("version=2")) && is_second(Some("x:version=2")) && !is_second(Some("version=1"))
        );
        assert_eq!((name_of("shop.git"), name_of("shop")), ("shop", "shop"));
    }
}
