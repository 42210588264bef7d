//! `/ledger/entries`

use axum::extract::State;
use axum::response::IntoResponse;
use hafen_base::{Error, PageLimit, PageToken, Permitted, Result, Timestamp};
use hafen_client::wire::{LedgerEntry, List, Problem};
use hafen_http::{ApiResult, Json, Path, Query, Sees};
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Ledger;
use crate::model::person_of;
use crate::store::list::Filter;
use crate::store::person;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EntryQuery {
    /// Only what this person or account did: its id or name. Nothing is found of one that was erased.
    #[param(max_length = 255)]
    actor: Option<String>,
    /// Only what was done to this object, as `machine/web-1` or `person/ID`.
    #[param(max_length = 512)]
    object: Option<String>,
    /// Only of this project.
    #[param(max_length = 255)]
    project: Option<String>,
    /// Only by actors of this organisation.
    #[param(max_length = 255)]
    organisation: Option<String>,
    /// Only of this kind; with `*` at its end of all that begin so, as `machine.*`.
    #[param(max_length = 255)]
    kind: Option<String>,
    /// Only what was written down at this time or after it (RFC 3339).
    #[param(format = DateTime)]
    from: Option<String>,
    /// Only what was written down before this time (RFC 3339).
    #[param(format = DateTime)]
    until: Option<String>,
    /// `oldest` (unless given) or `newest` first.
    #[param(pattern = "^(oldest|newest)$")]
    order: Option<String>,
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    text.map(|text| {
        serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
            Error::invalid_field(format!("/{name}"), "a time is written as 2026-11-24T12:00:00Z")
        })
    })
    .transpose()
}

fn place(page: Option<&str>) -> Result<Option<(i64, i64)>> {
    let key = PageToken::decode(page)?;
    if key.is_empty() {
        return Ok(None);
    }
    let place = key.split_once('/').and_then(|(shard, at)| Some((shard.parse().ok()?, at.parse().ok()?)));
    place.map(Some).ok_or_else(|| Error::invalid_field("/page", "not a page token; start again without one"))
}

impl EntryQuery {
    async fn filter(self, ledger: &Ledger, permitted: Permitted) -> Result<(Filter, PageLimit)> {
        let db = ledger.0.db.reader();
        for (name, text, most) in [
            ("actor", &self.actor, 255),
            ("object", &self.object, 512),
            ("project", &self.project, 255),
            ("organisation", &self.organisation, 255),
            ("kind", &self.kind, 255),
        ] {
            if text.as_ref().is_some_and(|text| text.chars().count() > most) {
                return Err(Error::invalid_field(format!("/{name}"), format!("at most {most} characters")));
            }
        }
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let mut filter = Filter {
            project: some(self.project),
            organisation: some(self.organisation),
            kind: some(self.kind),
            from: time("from", self.from.as_deref())?,
            until: time("until", self.until.as_deref())?,
            newest_first: match self.order.as_deref() {
                None | Some("oldest") => false,
                Some("newest") => true,
                Some(_) => return Err(Error::invalid_field("/order", "order is `oldest` or `newest`")),
            },
            after: place(self.page.as_deref())?,
            ..Filter::all(permitted)
        };
        if let Some(until) = filter.until {
            ledger.seal(until).await?;
        }
        if let Some(actor) = some(self.actor) {
            filter.actors = Some(person::named(db, &actor).await?);
        }
        if let Some(object) = some(self.object) {
            let persons = match person_of(&object) {
                Some(id) => person::named(db, id).await?,
                None => Vec::new(),
            };
            filter.object = Some((object, persons));
        }
        Ok((filter, PageLimit::new(self.limit)?))
    }
}

/// List what happened, in the order it was written down.
///
/// An auditor of an organisation sees what was done in its projects, and by its people elsewhere; an auditor of a project that
/// project's entries; owners of the platform see all.
/// A window of time that is over never changes, but for what is erased.
#[utoipa::path(get, path = "/api/v1/ledger/entries", tag = "ledger", operation_id = "ledger_entry_list", params(EntryQuery),
    responses(
        (status = 200, description = "A page of entries", body = List<LedgerEntry>),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn list(
    State(ledger): State<Ledger>,
    Sees(permitted): Sees,
    Query(query): Query<EntryQuery>,
) -> ApiResult<Json<List<LedgerEntry>>> {
    let (filter, limit) = query.filter(&ledger, permitted).await?;
    let page = ledger.entries(&filter, limit).await?;
    Ok(Json(List { items: page.items, next_page: page.next_page }))
}

/// Show one entry.
#[utoipa::path(get, path = "/api/v1/ledger/entries/{shard}/{position}", tag = "ledger", operation_id = "ledger_entry_get",
    params(("shard" = String, Path), ("position" = i64, Path, minimum = 0)),
    responses(
        (status = 200, description = "The entry", body = LedgerEntry),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn get(
    State(ledger): State<Ledger>,
    Sees(permitted): Sees,
    Path((shard, position)): Path<(String, i64)>,
) -> ApiResult<Json<LedgerEntry>> {
    Ok(Json(ledger.entry(&permitted, &shard, position).await?))
}

/// Prove an entry: a file of C2SP `tlog-proof` with the record as its extra data, to be checked offline.
#[utoipa::path(get, path = "/api/v1/ledger/entries/{shard}/{position}/proof", tag = "ledger",
    operation_id = "ledger_entry_proof", params(("shard" = String, Path), ("position" = i64, Path, minimum = 0)),
    responses(
        (status = 200, description = "The proof", body = String, content_type = "text/plain"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn proof(
    State(ledger): State<Ledger>,
    Sees(permitted): Sees,
    Path((shard, position)): Path<(String, i64)>,
) -> ApiResult<impl IntoResponse> {
    let proof = ledger.proof(&permitted, &shard, position).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], proof.to_string()))
}
