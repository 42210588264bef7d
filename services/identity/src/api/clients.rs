//! Clients of Hafen as an OpenID provider, and workload identities.

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_client::wire::{
    IdentityProvider, IdentityProviderCreate, List, OauthClient, OauthClientCreate, OauthClientCreated,
    Problem, WorkloadIdentity, WorkloadIdentityCreate,
};
use hafen_http::{ApiResult, Json, Path, Query};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asks, OfQuery};
use crate::Identity;

pub fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(client_create, client_list))
        .routes(routes!(client_delete))
        .routes(routes!(workload_create, workload_list))
        .routes(routes!(workload_get, workload_delete))
        .routes(routes!(provider_create, provider_list))
        .routes(routes!(provider_delete))
}

/// Make a client of Hafen as an OpenID provider. The answer holds its secret, once.
#[utoipa::path(post, path = "/api/v1/oauth-clients", tag = "identity", operation_id = "client_create",
    params(OfQuery), request_body = OauthClientCreate,
    responses(
        (status = 201, description = "Made", body = OauthClientCreated),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn client_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    Json(body): Json<OauthClientCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((
        StatusCode::CREATED,
        Json(identity.client_create(&caller, query.organisation.as_deref(), body).await?),
    ))
}

/// List the clients.
#[utoipa::path(get, path = "/api/v1/oauth-clients", tag = "identity", operation_id = "client_list",
    params(OfQuery),
    responses(
        (status = 200, description = "All of them", body = List<OauthClient>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn client_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
) -> ApiResult<Json<List<OauthClient>>> {
    Ok(Json(List {
        items: identity.client_list(&caller, query.organisation.as_deref()).await?,
        next_page: None,
    }))
}

/// Delete a client.
#[utoipa::path(delete, path = "/api/v1/oauth-clients/{client}", tag = "identity", operation_id = "client_delete",
    params(("client" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn client_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.client_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a workload identity: trust jobs of an issuer whose claims meet conditions. Takes a fresh second factor.
#[utoipa::path(post, path = "/api/v1/workload-identities", tag = "identity", operation_id = "workload_create",
    params(OfQuery), request_body = WorkloadIdentityCreate,
    responses(
        (status = 201, description = "Made", body = WorkloadIdentity),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn workload_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    Json(body): Json<WorkloadIdentityCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((
        StatusCode::CREATED,
        Json(identity.workload_create(&caller, query.organisation.as_deref(), body).await?),
    ))
}

/// List the workload identities.
#[utoipa::path(get, path = "/api/v1/workload-identities", tag = "identity", operation_id = "workload_list",
    params(OfQuery),
    responses(
        (status = 200, description = "All of them", body = List<WorkloadIdentity>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn workload_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
) -> ApiResult<Json<List<WorkloadIdentity>>> {
    Ok(Json(List {
        items: identity.workload_list(&caller, query.organisation.as_deref()).await?,
        next_page: None,
    }))
}

/// Show a workload identity, by id or name.
#[utoipa::path(get, path = "/api/v1/workload-identities/{workload}", tag = "identity", operation_id = "workload_get",
    params(("workload" = String, Path), OfQuery),
    responses(
        (status = 200, description = "Found", body = WorkloadIdentity),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn workload_get(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<Json<WorkloadIdentity>> {
    Ok(Json(identity.workload_get(&caller, query.organisation.as_deref(), &key).await?))
}

/// Trust it no longer; the tokens of its jobs end at once.
#[utoipa::path(delete, path = "/api/v1/workload-identities/{workload}", tag = "identity", operation_id = "workload_delete",
    params(("workload" = String, Path), OfQuery),
    responses(
        (status = 204, description = "Gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn workload_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.workload_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Configure an external OpenID provider that people may sign in through. Takes a fresh second factor.
#[utoipa::path(post, path = "/api/v1/identity-providers", tag = "identity", operation_id = "provider_create",
    params(OfQuery), request_body = IdentityProviderCreate,
    responses((status = 201, description = "Made", body = IdentityProvider), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),))]
async fn provider_create(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
    Json(body): Json<IdentityProviderCreate>,
) -> ApiResult<impl IntoResponse> {
    Ok((
        StatusCode::CREATED,
        Json(identity.provider_create(&caller, query.organisation.as_deref(), body).await?),
    ))
}

/// List the external OpenID providers.
#[utoipa::path(get, path = "/api/v1/identity-providers", tag = "identity", operation_id = "provider_list", params(OfQuery),
    responses((status = 200, description = "All of them", body = List<IdentityProvider>), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),))]
async fn provider_list(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Query(query): Query<OfQuery>,
) -> ApiResult<Json<List<IdentityProvider>>> {
    Ok(Json(List {
        items: identity.provider_list(&caller, query.organisation.as_deref()).await?,
        next_page: None,
    }))
}

/// Delete an external OpenID provider, and the links to its accounts.
#[utoipa::path(delete, path = "/api/v1/identity-providers/{provider}", tag = "identity", operation_id = "provider_delete",
    params(("provider" = String, Path), OfQuery), responses((status = 204, description = "Gone"), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),))]
async fn provider_delete(
    State(identity): State<Identity>,
    Asks(caller): Asks,
    Path(key): Path<String>,
    Query(query): Query<OfQuery>,
) -> ApiResult<StatusCode> {
    identity.provider_delete(&caller, query.organisation.as_deref(), &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
