//! `/projects/{project}/ssh-certificates`

use axum::extract::State;
use hafen_client::wire::{Problem, SshCertificate, SshCertificateCreate};
use hafen_http::{ApiResult, Json, Path};
use http::StatusCode;

use crate::Machines;

/// Signs a user's SSH public key for a short time: good for the machines of this project, without forwarding.
#[utoipa::path(post, path = "/api/v1/projects/{project}/ssh-certificates", operation_id = "ssh_create", tag = "ssh",
    params(("project" = String, Path)), request_body = SshCertificateCreate, responses(
    (status = 201, description = "The certificate, and the authority of host certificates", body = SshCertificate),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(machines): State<Machines>,
    Path(project): Path<String>,
    Json(body): Json<SshCertificateCreate>,
) -> ApiResult<(StatusCode, Json<SshCertificate>)> {
    Ok((StatusCode::CREATED, Json(machines.ssh_certificate(&project, &body).await?)))
}
