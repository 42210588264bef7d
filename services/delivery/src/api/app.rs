//! `/projects/{project}/apps`, their builds, releases and deployments.

use std::convert::Infallible;
use std::io::SeekFrom;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use hafen_base::{Error, ErrorKind, PageLimit, Result};
use hafen_client::wire::{
    App, AppExec, AppExecuted, AppRollback, AppScale, AppSpec, Build, Deployment, DeploymentCreate, List,
    Problem, Release,
};
use hafen_http::{ApiResult, IfMatch, Json, JsonBytes, Paging, Path, Query, RepeatKey, Tagged, list_of};
use http::{StatusCode, header};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::apps::Apps;
use crate::apps::hands::Lines;
use crate::apps::model::DeploymentRow;
use crate::apps::statements::Statement;
use crate::store::app as store;

impl Apps {
    /// The routes, to be merged with those of the other services.
    pub fn router(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(app_list))
            .routes(routes!(app_get, app_put, app_delete))
            .routes(routes!(app_scale))
            .routes(routes!(app_restart))
            .routes(routes!(app_rollback))
            .routes(routes!(app_logs))
            .routes(routes!(app_exec))
            .routes(routes!(build_list))
            .routes(routes!(build_get))
            .routes(routes!(build_log))
            .routes(routes!(build_provenance))
            .routes(routes!(build_sbom))
            .routes(routes!(release_list))
            .routes(routes!(deployment_list, deployment_create))
            .routes(routes!(deployment_get))
            .routes(routes!(deployment_log))
            .routes(routes!(deployment_cancel))
            .with_state(self.clone())
    }
}

/// For what is numbered, newest first.
fn below(paging: &Paging) -> Result<(i64, PageLimit)> {
    let (after, limit) = paging.read()?;
    let wrong = || Error::invalid_field("/page", "no token of a page that this platform gave");
    let below = if after.is_empty() { i64::MAX } else { after.parse().map_err(|_| wrong())? };
    Ok((below, limit))
}

/// The number of `b3`, `d7`, or a bare one.
fn number(what: &str, letter: char, text: &str) -> Result<i64> {
    let digits = text.strip_prefix(letter).unwrap_or(text);
    let good = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let found = if good { digits.parse().ok() } else { None };
    found.ok_or_else(|| Error::not_found(format!("{what} {text:?}")))
}

/// Lists the apps of a project by name.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps", tag = "apps", operation_id = "app_list",
    params(("project" = String, Path), Paging), responses(
    (status = 200, description = "A page of apps", body = List<App>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_list(
    State(apps): State<Apps>,
    Path(project): Path<String>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<App>>> {
    let (after, limit) = paging.read()?;
    let db = &apps.0.delivery.0.db;
    let since = apps.0.delivery.project_since(&project).await?;
    let rows = store::page(db, &project, since, &after, limit.get() + 1).await?;
    let page = limit.page(rows, |row| row.name.clone());
    let mut items = Vec::new();
    for row in &page.items {
        items.push(apps.app_wire(row).await?);
    }
    Ok(Json(List { items, next_page: page.next_page }))
}

/// Shows an app with its processes.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}", tag = "apps", operation_id = "app_get",
    params(("project" = String, Path), ("app" = String, Path)), responses(
    (status = 200, description = "The app", body = App, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_get(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
) -> ApiResult<Tagged<Json<App>>> {
    let app = apps.app_view(&project, &app).await?;
    Ok(Tagged(app.generation, Json(app)))
}

/// Makes an app, or changes what is wanted of it. Whatever changes a process begins a deployment; another number of
/// replicas does not.
#[utoipa::path(put, path = "/api/v1/projects/{project}/apps/{app}", tag = "apps", operation_id = "app_put",
    params(("project" = String, Path), ("app" = String, Path),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")),
    request_body = AppSpec, responses(
    (status = 200, description = "Changed, or as it was", body = App, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = 201, description = "Made", body = App, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_put(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    if_match: IfMatch,
    Json(body): Json<AppSpec>,
) -> ApiResult<Response> {
    let guard = |generation: Option<i64>| if_match.check(generation.unwrap_or(0));
    let (app, is_new) = apps.app_put(&project, &app, &body, &guard).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Tagged(app.generation, Json(app))).into_response())
}

/// Deletes an app: its processes end, its secrets and files leave the machines.
#[utoipa::path(delete, path = "/api/v1/projects/{project}/apps/{app}", tag = "apps", operation_id = "app_delete",
    params(("project" = String, Path), ("app" = String, Path),
        ("if-match" = Option<String>, Header, description = "ETag that must still hold")), responses(
    (status = 202, description = "It goes; when it is gone there is none of the name", body = App, headers(("ETag" = String, description = "Generation of what is shown, for If-Match"))),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_delete(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    if_match: IfMatch,
) -> ApiResult<Response> {
    let app = apps.app_delete(&project, &app, &|generation| if_match.check(generation)).await?;
    Ok((StatusCode::ACCEPTED, Tagged(app.generation, Json(app))).into_response())
}

/// Another number of processes.
#[utoipa::path(post, path = "/api/v1/projects/{project}/apps/{app}/scale", tag = "apps", operation_id = "app_scale",
    params(("project" = String, Path), ("app" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = AppScale, responses(
    (status = 202, description = "Accepted", body = App),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_scale(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<AppScale>,
) -> ApiResult<(StatusCode, Json<App>)> {
    let app = apps.scale(&project, &app, body.replicas, repeat.once(&bytes)?.as_ref()).await?;
    Ok((StatusCode::ACCEPTED, Json(app)))
}

/// New processes of the release that serves, as a deployment: without a dropped request, and with the secrets as they are now.
#[utoipa::path(post, path = "/api/v1/projects/{project}/apps/{app}/restart", tag = "apps", operation_id = "app_restart",
    params(("project" = String, Path), ("app" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "Begun", body = Deployment),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_restart(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    repeat: RepeatKey,
) -> ApiResult<(StatusCode, Json<Deployment>)> {
    let deployment = apps.restart(&project, &app, repeat.once(b"")?.as_ref()).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

/// Goes back to a kept release, without a build.
#[utoipa::path(post, path = "/api/v1/projects/{project}/apps/{app}/rollback", tag = "apps", operation_id = "app_rollback",
    params(("project" = String, Path), ("app" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = AppRollback, responses(
    (status = 202, description = "Begun", body = Deployment),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_rollback(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<AppRollback>,
) -> ApiResult<(StatusCode, Json<Deployment>)> {
    let once = repeat.once(&bytes)?;
    let deployment = apps.rollback(&project, &app, body.release, once.as_ref()).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Lines of each machine; 100 unless asked.
    #[param(minimum = 1, maximum = 10_000)]
    lines: Option<u32>,
    /// One process, as `web-1-d7-0`; all of them unless given.
    process: Option<String>,
    /// Goes on with what is said from now on, until the caller has enough.
    follow: Option<bool>,
}

/// What the processes of an app say, each line after the name of its machine.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/logs", tag = "apps", operation_id = "app_logs",
    params(("project" = String, Path), ("app" = String, Path), LogQuery), responses(
    (status = 200, description = "Lines", body = String, content_type = "text/plain"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_logs(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let count = query.lines.unwrap_or(100);
    if !(1..=10_000).contains(&count) {
        return Err(Error::invalid_field("/lines", "1 to 10000 lines").into());
    }
    let follow = query.follow.unwrap_or(false);
    let row = apps.app_row(&project, &app).await?;
    let wanted = apps.logs_of(&row, query.process.as_deref()).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(64);
    let work = {
        let apps = apps.clone();
        async move {
            let all = wanted.iter().map(|(machine, process)| {
                let lines = Lines { process: process.as_deref(), count, follow };
                apps.log_told(&row, machine, lines, sender.clone())
            });
            futures::future::join_all(all).await;
        }
    };
    Ok(told(receiver, work))
}

/// An answer that is written while it is made. Nothing outlives the request: the work is part of the body.
fn told(
    receiver: tokio::sync::mpsc::Receiver<Bytes>,
    work: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok::<Bytes, Infallible>(bytes), receiver))
    });
    let work = futures::stream::once(work).filter_map(|()| std::future::ready(None));
    let body = Body::from_stream(futures::stream::select(lines, work));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// Runs a command where a process of the app is: with its files, its walls and its secrets.
#[utoipa::path(post, path = "/api/v1/projects/{project}/apps/{app}/exec", tag = "apps", operation_id = "app_exec",
    params(("project" = String, Path), ("app" = String, Path)),
    request_body = AppExec, responses(
    (status = 200, description = "It ended; see its status", body = AppExecuted),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn app_exec(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    Json(body): Json<AppExec>,
) -> ApiResult<Json<AppExecuted>> {
    Ok(Json(apps.exec(&project, &app, &body).await?))
}

/// Lists the builds of an app, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/builds", tag = "apps", operation_id = "build_list",
    params(("project" = String, Path), ("app" = String, Path), Paging), responses(
    (status = 200, description = "A page of builds", body = List<Build>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn build_list(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Build>>> {
    let (below, limit) = below(&paging)?;
    apps.app_row(&project, &app).await?;
    let rows = store::builds(&apps.0.delivery.0.db, &project, &app, below, limit.get() + 1).await?;
    let page = limit.page(rows, |row| row.number.to_string());
    let items = page.items.iter().map(crate::apps::model::BuildRow::wire).collect();
    Ok(Json(list_of(hafen_base::Page { items, next_page: page.next_page })))
}

async fn build_row(
    apps: &Apps,
    project: &str,
    app: &str,
    build: &str,
) -> Result<crate::apps::model::BuildRow> {
    apps.app_row(project, app).await?;
    let number = number("build", 'b', build)?;
    let found = store::build(&apps.0.delivery.0.db, project, app, number).await?;
    found.ok_or_else(|| Error::not_found(format!("build {build:?} of app {app:?}")))
}

/// Shows a build.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/builds/{build}", tag = "apps", operation_id = "build_get",
    params(("project" = String, Path), ("app" = String, Path), ("build" = String, Path)), responses(
    (status = 200, description = "The build", body = Build),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn build_get(
    State(apps): State<Apps>,
    Path((project, app, build)): Path<(String, String, String)>,
) -> ApiResult<Json<Build>> {
    Ok(Json(build_row(&apps, &project, &app, &build).await?.wire()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BuildLogQuery {
    /// Goes on until the build is over.
    follow: Option<bool>,
}

/// What a build printed.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/builds/{build}/log", tag = "apps", operation_id = "build_log",
    params(("project" = String, Path), ("app" = String, Path), ("build" = String, Path), BuildLogQuery), responses(
    (status = 200, description = "The log", body = String, content_type = "text/plain"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn build_log(
    State(apps): State<Apps>,
    Path((project, app, build)): Path<(String, String, String)>,
    Query(query): Query<BuildLogQuery>,
) -> ApiResult<Response> {
    let row = build_row(&apps, &project, &app, &build).await?;
    let follow = query.follow.unwrap_or(false);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    let work = async move {
        let (path, mut at) = (apps.log_path(&row), 0_u64);
        let parts = &apps.0.delivery.0;
        loop {
            // Looked at before the file is read: what was written until then is in it.
            let now = store::build(&parts.db, &row.project, &row.app, row.number).await;
            let is_over = !matches!(&now, Ok(Some(now)) if !now.state.is_over());
            if let Ok(mut file) = tokio::fs::File::open(&path).await {
                let mut buffer = vec![0; 32 << 10];
                let _short = file.seek(SeekFrom::Start(at)).await;
                while let Ok(count @ 1..) = file.read(&mut buffer).await {
                    at += u64::try_from(count).unwrap_or(0);
                    let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                    if sender.send(bytes).await.is_err() {
                        return;
                    }
                }
            }
            if is_over || !follow || sender.is_closed() {
                return;
            }
            parts.clock.sleep(Duration::from_millis(300)).await;
        }
    };
    Ok(told(receiver, work))
}

async fn statement(
    apps: &Apps,
    (project, app, build): (String, String, String),
    what: Statement,
    named: &str,
) -> Result<Response> {
    let row = build_row(apps, &project, &app, &build).await?;
    let app = apps.app_row(&project, &app).await?;
    let statements = apps.statements(&app);
    let text = statements.read(row.number, what).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(format!("{named} of build {}", row.id())),
        _ => error,
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Who made the artefact of a build, of what: a SLSA v1 provenance in a signed DSSE envelope.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/builds/{build}/provenance", tag = "apps", operation_id = "build_provenance",
    params(("project" = String, Path), ("app" = String, Path), ("build" = String, Path)), responses(
    (status = 200, description = "The envelope", body = serde_json::Value),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn build_provenance(
    State(apps): State<Apps>,
    Path(build): Path<(String, String, String)>,
) -> ApiResult<Response> {
    Ok(statement(&apps, build, Statement::Provenance, "provenance").await?)
}

/// What the source of a build is made of by its lock files: a CycloneDX document.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/builds/{build}/sbom", tag = "apps", operation_id = "build_sbom",
    params(("project" = String, Path), ("app" = String, Path), ("build" = String, Path)), responses(
    (status = 200, description = "The document", body = serde_json::Value),
    (status = "default", description = "A problem; 404 too where the source has no lock file", body = Problem, content_type = "application/problem+json")))]
async fn build_sbom(
    State(apps): State<Apps>,
    Path(build): Path<(String, String, String)>,
) -> ApiResult<Response> {
    let named = "list of components (its source has no lock file)";
    Ok(statement(&apps, build, Statement::Components, named).await?)
}

/// Lists the releases of an app, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/releases", tag = "apps", operation_id = "release_list",
    params(("project" = String, Path), ("app" = String, Path), Paging), responses(
    (status = 200, description = "A page of releases", body = List<Release>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn release_list(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Release>>> {
    let (below, limit) = below(&paging)?;
    apps.app_row(&project, &app).await?;
    let rows = store::releases(&apps.0.delivery.0.db, &project, &app, below, limit.get() + 1).await?;
    let page = limit.page(rows, |row| row.number.to_string());
    let items = page.items.iter().map(|row| row.wire(&app)).collect();
    Ok(Json(list_of(hafen_base::Page { items, next_page: page.next_page })))
}

/// Lists the deployments of an app, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/deployments", tag = "apps", operation_id = "deployment_list",
    params(("project" = String, Path), ("app" = String, Path), Paging), responses(
    (status = 200, description = "A page of deployments", body = List<Deployment>),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn deployment_list(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<List<Deployment>>> {
    let (below, limit) = below(&paging)?;
    apps.app_row(&project, &app).await?;
    let rows = store::deployments(&apps.0.delivery.0.db, &project, &app, below, limit.get() + 1).await?;
    let page = limit.page(rows, |row| row.number.to_string());
    let items = page.items.iter().map(|row| row.wire(&app)).collect();
    Ok(Json(list_of(hafen_base::Page { items, next_page: page.next_page })))
}

/// Deploys a branch, tag or commit, or a kept release; the head of the app's branch when nothing is said.
#[utoipa::path(post, path = "/api/v1/projects/{project}/apps/{app}/deployments", tag = "apps", operation_id = "deployment_create",
    params(("project" = String, Path), ("app" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")),
    request_body = DeploymentCreate, responses(
    (status = 202, description = "Begun", body = Deployment),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn deployment_create(
    State(apps): State<Apps>,
    Path((project, app)): Path<(String, String)>,
    repeat: RepeatKey,
    JsonBytes(body, bytes): JsonBytes<DeploymentCreate>,
) -> ApiResult<(StatusCode, Json<Deployment>)> {
    let deployment = apps.deploy(&project, &app, &body, repeat.once(&bytes)?.as_ref()).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

async fn deployment_row(apps: &Apps, project: &str, app: &str, deployment: &str) -> Result<DeploymentRow> {
    apps.app_row(project, app).await?;
    let number = number("deployment", 'd', deployment)?;
    let found = store::deployment(&apps.0.delivery.0.db, project, app, number).await?;
    found.ok_or_else(|| Error::not_found(format!("deployment {deployment:?} of app {app:?}")))
}

/// Shows a deployment; one that failed says why, with the probe's answer.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/deployments/{deployment}", tag = "apps", operation_id = "deployment_get",
    params(("project" = String, Path), ("app" = String, Path), ("deployment" = String, Path)), responses(
    (status = 200, description = "The deployment", body = Deployment),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn deployment_get(
    State(apps): State<Apps>,
    Path((project, app, deployment)): Path<(String, String, String)>,
) -> ApiResult<Json<Deployment>> {
    Ok(Json(deployment_row(&apps, &project, &app, &deployment).await?.wire(&app)))
}

/// What was said last by the process, the migration or the build that a deployment failed of; empty when it did not fail.
#[utoipa::path(get, path = "/api/v1/projects/{project}/apps/{app}/deployments/{deployment}/log", tag = "apps", operation_id = "deployment_log",
    params(("project" = String, Path), ("app" = String, Path), ("deployment" = String, Path)), responses(
    (status = 200, description = "Lines", body = String, content_type = "text/plain"),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn deployment_log(
    State(apps): State<Apps>,
    Path((project, app, deployment)): Path<(String, String, String)>,
) -> ApiResult<Response> {
    let row = deployment_row(&apps, &project, &app, &deployment).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], row.log).into_response())
}

/// Ends a deployment that is not over. What served before it serves on.
#[utoipa::path(post, path = "/api/v1/projects/{project}/apps/{app}/deployments/{deployment}/cancel", tag = "apps", operation_id = "deployment_cancel",
    params(("project" = String, Path), ("app" = String, Path), ("deployment" = String, Path), ("idempotency-key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Repeats act once")), responses(
    (status = 202, description = "Cancelled", body = Deployment),
    (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
async fn deployment_cancel(
    State(apps): State<Apps>,
    Path((project, app, deployment)): Path<(String, String, String)>,
    repeat: RepeatKey,
) -> ApiResult<(StatusCode, Json<Deployment>)> {
    let number = number("deployment", 'd', &deployment)?;
    let once = repeat.once(b"")?;
    let row = apps.deployment_cancel(&project, &app, number, once.as_ref()).await?;
    Ok((StatusCode::ACCEPTED, Json(row)))
}
