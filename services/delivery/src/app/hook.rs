//! Hooks: made, and called.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_base::{Actor, ActorKind, Error, ErrorKind, HookId, Page, PageLimit, Result, Timestamp};
use hafen_client::wire::{Hook, HookCreate, HookCreated, HookDelivery, HookIgnored, HookKind};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, Once, OnceTx};
use serde_json::json;

use super::label;
use super::repository::good_branch;
use crate::hooks::{Asks, Call, Nothing};
use crate::store::hook::{HookRow, RepeatKey, RequestRow};
use crate::{Delivery, hooks, store};

/// Under which name a hook's secret is sealed.
fn sealed_as(id: &str) -> String {
    format!("hook/{id}")
}

fn no_hook(project: &str, name: &str) -> Error {
    Error::not_found(format!("hook {name:?} in project {project:?}"))
}

fn check(body: &HookCreate) -> Result<()> {
    label("hook", "/name", &body.name)?;
    label("application", "/app", &body.app)?;
    if body.branch.as_deref().is_some_and(|branch| !good_branch(branch)) {
        return Err(Error::invalid_field(
            "/branch",
            "a branch has letters, digits, '-', '_', '.' and '/', as main or release/1.0",
        ));
    }
    let job = body.job.as_deref();
    if job.is_some_and(|job| job.is_empty() || job.chars().count() > 200 || job.chars().any(char::is_control))
    {
        return Err(Error::invalid_field("/job", "1 to 200 characters, and no control characters"));
    }
    if body.pipeline && body.kind != HookKind::Gitlab {
        return Err(Error::invalid_field("/pipeline", "only GitLab tells of pipelines"));
    }
    if job.is_some() && body.kind != HookKind::Jenkins {
        return Err(Error::invalid_field("/job", "only Jenkins has jobs"));
    }
    Ok(())
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    /// `accepted`, `ignored` or `repeated`.
    pub outcome: &'static str,
    pub detail: String,
}

impl Delivery {
    async fn hook_row(&self, project: &str, name: &str) -> Result<HookRow> {
        let since = self.project_since(project).await?;
        let row = store::hook::find(self.0.db.reader(), project, name).await?;
        row.filter(|row| row.project_since == since).ok_or_else(|| no_hook(project, name))
    }

    pub(crate) async fn hook_get(&self, project: &str, name: &str) -> Result<Hook> {
        Ok(self.hook_row(project, name).await?.hook)
    }

    pub(crate) async fn hook_list(&self, project: &str, after: &str, limit: PageLimit) -> Result<Page<Hook>> {
        let since = self.project_since(project).await?;
        let most = i64::from(limit.get()) + 1;
        let rows = store::hook::list(self.0.db.reader(), project, since, after, most).await?;
        Ok(limit.page(rows.into_iter().map(|row| row.hook).collect(), |hook: &Hook| hook.name.clone()))
    }

    pub(crate) async fn hook_create(
        &self,
        project: &str,
        body: HookCreate,
        repeat: Option<&Once>,
    ) -> Result<HookCreated> {
        check(&body)?;
        let since = self.project_since(project).await?;
        // The answer that is kept for a repeat holds no secret; it is opened again.
        let mut once = match OnceTx::begin::<Hook>(&self.0.db, repeat).await? {
            Begun::Answered(hook) => return self.hook_again(hook).await,
            Begun::New(once) => once,
        };
        let tx = &mut once.tx;
        let now = self.0.now();
        let old = store::hook::find(&mut **tx, project, &body.name).await?;
        if let Some(old) = old.filter(|old| old.project_since != since) {
            store::hook::delete(tx, &old.hook.id).await?;
        }
        let id = HookId::generate(now, &*self.0.random).to_string();
        let secret = self.new_secret(body.kind);
        let hook = Hook {
            path: store::hook::path(&id),
            project: project.to_owned(),
            name: body.name,
            kind: body.kind,
            app: body.app,
            branch: body.branch,
            pipeline: body.pipeline,
            job: body.job,
            created_by: Actor::current().id,
            created_at: now,
            called_at: None,
            id,
        };
        let sealed = self.0.key.seal(&sealed_as(&hook.id), secret.as_bytes(), &*self.0.random)?;
        let row = HookRow { hook: hook.clone(), project_since: since, secret: sealed };
        if !store::hook::insert(tx, &row).await? {
            return Err(Error::conflict(format!(
                "there is a hook {:?} in project {project} already",
                hook.name
            )));
        }
        let message = format!("hook {} ({}) deploys {}", hook.name, hook.kind.as_str(), hook.app);
        let data = json!({ "id": hook.id, "kind": hook.kind, "app": hook.app, "branch": hook.branch });
        self.event(tx, project, "hook.created", format!("hook/{}", hook.name), message, data).await?;
        once.finish(&hook, &*self.0.clock).await?;
        self.0.events.ring();
        Ok(HookCreated { hook, secret })
    }

    async fn hook_again(&self, hook: Hook) -> Result<HookCreated> {
        let row = store::hook::get(self.0.db.reader(), &hook.id).await?;
        let row = row.ok_or_else(|| no_hook(&hook.project, &hook.name))?;
        let secret = self.0.key.open(&sealed_as(&hook.id), &row.secret)?;
        Ok(HookCreated { hook, secret: secret.expose_text()?.to_owned() })
    }

    fn new_secret(&self, kind: HookKind) -> String {
        let mut bytes = [0_u8; 32];
        self.0.random.fill(&mut bytes);
        match kind {
            // As Standard Webhooks write keys: GitLab takes it as its token and as its signing key.
            HookKind::Gitlab => format!("whsec_{}", STANDARD.encode(bytes)),
            _ => bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
        }
    }

    pub(crate) async fn hook_delete(&self, project: &str, name: &str) -> Result<()> {
        let hook = self.hook_row(project, name).await?.hook;
        let mut tx = self.0.db.write().await?;
        store::hook::delete(&mut tx, &hook.id).await?;
        let message = format!("hook {} deploys {} no more", hook.name, hook.app);
        let object = format!("hook/{}", hook.name);
        self.event(&mut tx, project, "hook.deleted", object, message, json!({ "id": hook.id })).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(())
    }

    pub(crate) async fn hook_delivery_list(
        &self,
        project: &str,
        name: &str,
        below: &str,
        limit: PageLimit,
    ) -> Result<Page<HookDelivery>> {
        let hook = self.hook_row(project, name).await?.hook;
        let most = i64::from(limit.get()) + 1;
        let list = store::hook::delivery_list(self.0.db.reader(), &hook.id, below, most).await?;
        Ok(limit.page(list, |one: &HookDelivery| one.id.clone()))
    }

    /// Somebody calls a hook.
    pub(crate) async fn hook_called(
        &self,
        id: &str,
        headers: &http::HeaderMap,
        token: Option<&str>,
        body: &[u8],
    ) -> Result<Called> {
        let unknown = || {
            Error::new(ErrorKind::Unauthenticated, "no hook of this address knows this secret or signature")
        };
        let row = store::hook::get(self.0.db.reader(), id).await?.ok_or_else(unknown)?;
        // A hook of a project that is gone is none, whoever has the name now.
        match self.project_since(&row.hook.project).await {
            Ok(since) if since == row.project_since => {}
            Ok(_) => return Err(unknown()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown()),
            Err(error) => return Err(error),
        }
        let secret = self.0.key.open(&sealed_as(id), &row.secret)?;
        let now = self.0.now();
        let call = Call { headers, token, body, now };
        let asks = hooks::read(&row.hook, secret.expose_text()?, call)?;
        let actor = Actor {
            kind: ActorKind::Workload,
            id: row.hook.id.clone(),
            name: format!("hook {}", row.hook.name),
            credential: format!("hook/{}", row.hook.id),
            ..Actor::current()
        };
        actor.clone().acts(self.hook_acts(&row, asks, actor, now)).await
    }

    async fn hook_acts(&self, row: &HookRow, asks: Asks, actor: Actor, now: Timestamp) -> Result<Called> {
        let hook = &row.hook;
        let mut tx = self.0.db.write().await?;
        store::hook::called(&mut tx, &hook.id, now).await?;
        let id = format!("request-{}", ulid_of(&HookId::generate(now, &*self.0.random)));
        let called = match asks {
            Asks::Nothing(nothing) => hook_ignores(&mut tx, hook, nothing, id, now).await?,
            Asks::Deploy { reference, commit, repeat } => {
                let wanted = RequestRow {
                    id,
                    project: hook.project.clone(),
                    project_since: row.project_since,
                    app: hook.app.clone(),
                    reference: Some(reference),
                    commit,
                    actor,
                };
                self.hook_deploys(&mut tx, hook, wanted, &repeat, now).await?
            }
        };
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        if called.outcome == "accepted" {
            // By its sweep if this is lost.
            for request in store::hook::request_list(self.0.db.reader()).await? {
                self.0.wakes.request.wake(request);
            }
        }
        Ok(called)
    }

    async fn hook_deploys(
        &self,
        tx: &mut Tx,
        hook: &Hook,
        wanted: RequestRow,
        repeat: &RepeatKey,
        now: Timestamp,
    ) -> Result<Called> {
        let what = format!(
            "{} at {}{}",
            wanted.app,
            wanted.reference.as_deref().unwrap_or_default(),
            wanted
                .commit
                .as_deref()
                .and_then(|commit| commit.get(..12))
                .map_or(String::new(), |c| format!(" ({c})"))
        );
        if let Some((job, build)) = &repeat.build {
            let last = store::hook::last_build(tx, &hook.id, job).await?;
            if *build < last {
                let about = format!("{build}, after {last}");
                let nothing = Nothing::new(HookIgnored::OlderBuild, about, &repeat.key);
                return hook_ignores(tx, hook, nothing, wanted.id, now).await;
            }
        }
        let delivery = HookDelivery {
            id: wanted.id.clone(),
            outcome: "accepted".into(),
            ignored: None,
            about: None,
            detail: what.clone(),
            at: now,
        };
        if !store::hook::delivery_insert(tx, &hook.id, repeat, &delivery).await? {
            return Ok(Called {
                outcome: "repeated",
                detail: "this was told before, and acted on once".into(),
            });
        }
        store::hook::request_insert(tx, &wanted, now).await?;
        let data = json!({ "request": wanted.id, "app": wanted.app, "ref": wanted.reference, "commit": wanted.commit });
        let message = format!("hook {} asks to deploy {what}", hook.name);
        let object = format!("hook/{}", hook.name);
        self.event(tx, &hook.project, "hook.called", object, message, data).await?;
        Ok(Called { outcome: "accepted", detail: what })
    }
}

/// Takes down a call that asks for nothing, for who wonders why nothing is deployed. No event: there may be many of them.
async fn hook_ignores(
    tx: &mut Tx,
    hook: &Hook,
    nothing: Nothing,
    id: String,
    now: Timestamp,
) -> Result<Called> {
    let detail = nothing.sentence();
    let delivery = HookDelivery {
        id,
        outcome: "ignored".into(),
        ignored: Some(nothing.why),
        about: Some(nothing.about),
        detail: detail.clone(),
        at: now,
    };
    // Of no build: only those that were acted on make others too old.
    let repeat = RepeatKey { key: nothing.key, build: None };
    if store::hook::delivery_insert(tx, &hook.id, &repeat, &delivery).await? {
        store::hook::ignored_forget(tx, &hook.id).await?;
    }
    Ok(Called { outcome: "ignored", detail })
}

fn ulid_of(id: &HookId) -> String {
    let text = id.to_string();
    text.split_once('-').map_or(text.clone(), |(_, ulid)| ulid.to_owned())
}
