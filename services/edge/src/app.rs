//! Routes, backends and certificates: rule → store → event, in one transaction; then the tables.

use hafen_base::{Error, Page, PageLimit, Permitted, Result, Timestamp};
use hafen_client::wire::{Backend, BackendEndpoint, BackendPut, Certificate, Route, RoutePut};
use hafen_db::{Tx, store_error};
use hafen_work::{Begun, NewEvent, Once, OnceTx};
use serde_json::{Value, json};

use crate::certificate::plan;
use crate::certificate::store::{self as certificates, CertificateRow};
use crate::store::{self, BackendRow, RouteRow, revision_next};
use crate::{Edge, model};

fn no_route(project: &str, host: &str) -> Error {
    Error::not_found(format!("route {host:?} in project {project:?}"))
}

fn no_backend(project: &str, name: &str) -> Error {
    Error::not_found(format!("backend {name:?} in project {project:?}"))
}

fn taken(host: &str, by: &str) -> Error {
    let why = if host == by { String::new() } else { format!(" with {by}") };
    Error::conflict(format!("{host} belongs to another project{why}: a host is of one project"))
        .with_code("host_taken")
}

fn held(host: &str, free: Timestamp) -> Error {
    Error::conflict(format!(
        "{host} was another project's until lately, and may still lead here: it is free at {free}; until then who has that project, or \
         answers for the platform, may give it to this one"
    ))
    .with_code("host_held")
}

impl Edge {
    /// When the project was founded; not found where there is none.
    pub(crate) async fn project_since(&self, project: &str) -> Result<i64> {
        Ok(self.0.platform.project_get(project).await?.created_at.micros())
    }

    async fn event(
        &self,
        tx: &mut Tx,
        project: &str,
        kind: &'static str,
        object: String,
        message: String,
        data: Value,
    ) -> Result<()> {
        let event = NewEvent { project: project.to_owned(), kind, object, message, data };
        self.0.events.append(tx, event).await.map(drop)
    }

    /// Says what a host leads to; true when it is new. `check` may refuse by generation (`If-Match`). Who may see the project that
    /// had the host last may give it on at once.
    pub async fn route_put(
        &self,
        project: &str,
        host: &str,
        body: RoutePut,
        sees: &Permitted,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<(Route, bool)> {
        model::check_host(host)?;
        model::check_route(&body)?;
        let since = self.project_since(project).await?;
        let mut tx = self.0.db.write().await?;
        let mut before = store::route_find(&mut tx, host).await?;
        // What a project of the same name left behind is not this one's.
        if let Some(row) =
            before.clone().filter(|row| !row.absent && row.project == project && !row.is_of(project, since))
        {
            self.route_end(&mut tx, row).await?;
            before = store::route_find(&mut tx, host).await?;
        }
        if let Some(row) = before.as_ref().filter(|row| !row.absent && row.project != project) {
            return Err(taken(host, &row.host));
        }
        if let Some(other) = store::route_covering(&mut tx, project, host).await? {
            return Err(taken(host, &other));
        }
        if let Some(row) = before.as_ref().filter(|row| row.absent && !row.is_of(project, since)) {
            let free = row.ended_at.plus(model::HELD);
            if free > self.0.now() && !sees.had(&row.project, row.ended_at) {
                return Err(held(host, free));
            }
        }
        let there = before.as_ref().filter(|row| !row.absent);
        check(there.map_or(0, |row| row.generation))?;
        let new = there.is_none();
        let changed = there.is_none_or(|row| row.spec != body);
        let now = self.0.now();
        let row = RouteRow {
            host: host.to_owned(),
            project: project.to_owned(),
            project_since: since,
            ended_at: Timestamp::default(),
            created_at: there.map_or(now, |row| row.created_at),
            // Goes on where it was when the host was deleted: an old ETag never fits again.
            generation: before.as_ref().map_or(0, |row| row.generation) + i64::from(changed),
            absent: false,
            spec: body,
        };
        if changed {
            let revision = revision_next(&mut tx).await?;
            store::route_put(&mut tx, &row, revision).await?;
            if new {
                let wish = CertificateRow {
                    host: host.to_owned(),
                    project: project.to_owned(),
                    project_since: since,
                    issuer: model::issuer(host, self.0.acme.is_some()).as_str().into(),
                    next_try: now,
                    ..CertificateRow::default()
                };
                certificates::wish(&mut tx, &wish, revision).await?;
            }
            let kind = if new { "route.created" } else { "route.changed" };
            let paths = row.spec.paths.len();
            let message = format!("{host} leads on by {paths} path{}", if paths == 1 { "" } else { "s" });
            let data = serde_json::to_value(&row.spec).map_err(Error::internal)?;
            self.event(&mut tx, project, kind, format!("route/{host}"), message, data).await?;
        }
        tx.commit().await.map_err(store_error)?;
        if changed {
            self.0.events.ring();
            self.0.wake.wake(host);
            self.tables_sync().await?;
        }
        Ok((self.route_view_of(row).await?, new))
    }

    async fn route_view_of(&self, row: RouteRow) -> Result<Route> {
        let certificate = certificates::get(&self.0.db, &row.host).await?;
        let state = certificate.map_or_else(|| "pending".to_owned(), |row| row.state);
        Ok(route_view(row, state))
    }

    pub async fn route_get(&self, project: &str, host: &str) -> Result<Route> {
        let since = self.project_since(project).await?;
        let row = store::route_get(&self.0.db, project, host).await?.filter(|row| row.is_of(project, since));
        self.route_view_of(row.ok_or_else(|| no_route(project, host))?).await
    }

    pub async fn route_list(&self, project: &str, after: &str, limit: PageLimit) -> Result<Page<Route>> {
        let of = (project, self.project_since(project).await?);
        let rows = store::route_list(&self.0.db, of, after, limit.get() + 1).await?;
        let states = certificates::list(&self.0.db, of, after, limit.get() + 1).await?;
        let state = |host: &str| {
            let found = states.iter().find(|row| row.host == host);
            found.map_or_else(|| "pending".to_owned(), |row| row.state.clone())
        };
        let views = rows.into_iter().map(|row| {
            let state = state(&row.host);
            route_view(row, state)
        });
        Ok(limit.page(views.collect(), |route: &Route| route.host.clone()))
    }

    pub async fn route_delete(
        &self,
        project: &str,
        host: &str,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<()> {
        let since = self.project_since(project).await?;
        let mut tx = self.0.db.write().await?;
        let row = store::route_find(&mut tx, host).await?;
        let row = row
            .filter(|row| !row.absent && row.is_of(project, since))
            .ok_or_else(|| no_route(project, host))?;
        check(row.generation)?;
        self.route_end(&mut tx, row).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.tables_sync().await
    }

    async fn route_end(&self, tx: &mut Tx, row: RouteRow) -> Result<()> {
        let revision = revision_next(tx).await?;
        let (project, host) = (row.project.clone(), row.host.clone());
        let gone = RouteRow { absent: true, generation: row.generation + 1, ended_at: self.0.now(), ..row };
        store::route_put(tx, &gone, revision).await?;
        certificates::forget(tx, &host, revision).await?;
        let message = format!("{host} leads nowhere any more; its key is forgotten");
        self.event(tx, &project, "route.deleted", format!("route/{host}"), message, Value::Null).await
    }

    /// Says what answers under a name; true when it is new. `addresses` tells whether places of this host may be named.
    pub async fn backend_put(
        &self,
        project: &str,
        name: &str,
        body: BackendPut,
        addresses: bool,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<(Backend, bool)> {
        model::check_backend(name, &body, addresses)?;
        let since = self.project_since(project).await?;
        let mut tx = self.0.db.write().await?;
        let mut before = store::backend_find(&mut tx, project, name).await?;
        if let Some(row) =
            before.clone().filter(|row| !row.absent && !store::is_since(row.project_since, since))
        {
            self.backend_end(&mut tx, row).await?;
            before = store::backend_find(&mut tx, project, name).await?;
        }
        let there = before.as_ref().filter(|row| !row.absent);
        check(there.map_or(0, |row| row.generation))?;
        let written = there.map_or(0, |row| row.writer_generation);
        let asked = body.generation.unwrap_or(written);
        if asked < written {
            return Err(Error::new(
                hafen_base::ErrorKind::Stale,
                format!(
                    "backend {name:?} was written with generation {written} already, which is newer than {asked}"
                ),
            ));
        }
        let new = there.is_none();
        let spec = BackendPut { generation: None, ..body };
        let changed = there.is_none_or(|row| row.spec != spec || row.writer_generation != asked);
        let row = BackendRow {
            project: project.to_owned(),
            project_since: since,
            name: name.to_owned(),
            writer_generation: asked,
            generation: before.as_ref().map_or(0, |row| row.generation) + i64::from(changed),
            absent: false,
            spec,
        };
        if changed {
            let revision = revision_next(&mut tx).await?;
            store::backend_put(&mut tx, &row, revision).await?;
            let count = |draining| {
                let state = hafen_client::wire::EndpointState::Draining;
                row.spec.endpoints.iter().filter(|endpoint| (endpoint.state == state) == draining).count()
            };
            let (active, draining) = (count(false), count(true));
            let message = format!("backend {name} has {active} endpoints, and {draining} that drain");
            let kind = if new { "backend.created" } else { "backend.changed" };
            let data = json!({ "active": active, "draining": draining });
            self.event(&mut tx, project, kind, format!("backend/{name}"), message, data).await?;
        }
        tx.commit().await.map_err(store_error)?;
        if changed {
            self.0.events.ring();
            self.tables_sync().await?;
        }
        Ok((self.backend_view(row), new))
    }

    fn backend_view(&self, row: BackendRow) -> Backend {
        let seen = self.0.tables.endpoints(&row.project, &row.name);
        let unchecked = row.spec.health.is_none();
        let endpoints = row.spec.endpoints.into_iter().map(|endpoint| {
            let seen = seen.iter().find(|seen| seen.id == endpoint.id);
            BackendEndpoint {
                healthy: seen.map_or(unchecked, |seen| seen.healthy),
                ejected: seen.is_some_and(|seen| seen.ejected),
                in_flight: seen.map_or(0, |seen| seen.in_flight),
                requests: seen.map_or(0, |seen| i64::try_from(seen.requests).unwrap_or(i64::MAX)),
                reason: seen.map(|seen| seen.reason.clone()).unwrap_or_default(),
                id: endpoint.id,
                machine: endpoint.machine,
                port: endpoint.port,
                address: endpoint.address,
                state: endpoint.state,
            }
        });
        Backend {
            endpoints: endpoints.collect(),
            project: row.project,
            name: row.name,
            health: row.spec.health,
            writer_generation: row.writer_generation,
            generation: row.generation,
        }
    }

    pub async fn backend_get(&self, project: &str, name: &str) -> Result<Backend> {
        let since = self.project_since(project).await?;
        let row = store::backend_get(&self.0.db, project, name).await?;
        let row = row.filter(|row| store::is_since(row.project_since, since));
        row.map(|row| self.backend_view(row)).ok_or_else(|| no_backend(project, name))
    }

    pub async fn backend_list(&self, project: &str, after: &str, limit: PageLimit) -> Result<Page<Backend>> {
        let of = (project, self.project_since(project).await?);
        let rows = store::backend_list(&self.0.db, of, after, limit.get() + 1).await?;
        let views = rows.into_iter().map(|row| self.backend_view(row)).collect();
        Ok(limit.page(views, |backend: &Backend| backend.name.clone()))
    }

    pub async fn backend_delete(
        &self,
        project: &str,
        name: &str,
        check: impl Fn(i64) -> Result<()> + Send,
    ) -> Result<()> {
        let since = self.project_since(project).await?;
        let mut tx = self.0.db.write().await?;
        let row = store::backend_find(&mut tx, project, name).await?;
        let row = row
            .filter(|row| !row.absent && store::is_since(row.project_since, since))
            .ok_or_else(|| no_backend(project, name))?;
        check(row.generation)?;
        self.backend_end(&mut tx, row).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.tables_sync().await
    }

    async fn backend_end(&self, tx: &mut Tx, row: BackendRow) -> Result<()> {
        let revision = revision_next(tx).await?;
        let (project, name) = (row.project.clone(), row.name.clone());
        let gone = BackendRow {
            absent: true,
            generation: row.generation + 1,
            writer_generation: 0,
            spec: BackendPut::default(),
            ..row
        };
        store::backend_put(tx, &gone, revision).await?;
        let message = format!("backend {name} is gone");
        self.event(tx, &project, "backend.deleted", format!("backend/{name}"), message, Value::Null).await
    }

    /// Ends everything of a project that is gone, and was founded then.
    pub(crate) async fn project_end(&self, project: &str, since: i64) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        let (routes, backends) = store::of_project(&mut tx, project, since).await?;
        for row in routes {
            self.route_end(&mut tx, row).await?;
        }
        for row in backends {
            self.backend_end(&mut tx, row).await?;
        }
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        self.tables_sync().await
    }

    pub async fn certificate_get(&self, project: &str, host: &str) -> Result<Certificate> {
        let since = self.project_since(project).await?;
        let row = certificates::get(&self.0.db, host)
            .await?
            .filter(|row| row.project == project && store::is_since(row.project_since, since));
        row.map(|row| row.wire()).ok_or_else(|| no_certificate(project, host))
    }

    /// The chain that is shown for a host, in PEM; none while there is none.
    ///
    /// # Errors
    /// As the database's.
    pub async fn certificate_chain(&self, host: &str) -> Result<String> {
        Ok(certificates::get(&self.0.db, host).await?.map(|row| row.chain).unwrap_or_default())
    }

    pub async fn certificate_list(
        &self,
        project: &str,
        after: &str,
        limit: PageLimit,
    ) -> Result<Page<Certificate>> {
        let of = (project, self.project_since(project).await?);
        let rows = certificates::list(&self.0.db, of, after, limit.get() + 1).await?;
        Ok(limit.page(rows.iter().map(CertificateRow::wire).collect(), |row: &Certificate| row.host.clone()))
    }

    /// Whether a certificate may be asked for by hand now: one account at an authority serves everybody, and has limits that nobody
    /// shall use up alone.
    async fn check_renewal(&self, row: &CertificateRow) -> Result<()> {
        let parts = &self.0;
        let (now, host) = (parts.now(), &row.host);
        let wanted = model::issuer(host, parts.acme.is_some());
        if plan::is_kept(row, wanted, now) {
            return Err(Error::conflict(format!(
                "the certificate of {host} is of a public authority and good until {}, and none is configured that could give \
                 another: start with --acme",
                row.not_after
            ))
            .with_code("certificate_kept"));
        }
        if wanted == model::Issuer::Internal {
            return Ok(());
        }
        if certificates::is_leased(&parts.db, host, now).await? {
            return Err(Error::conflict(format!(
                "a certificate for {host} is being asked for just now: wait for it"
            ))
            .with_code("certificate_busy"));
        }
        let too_many =
            |why: String| Error::new(hafen_base::ErrorKind::TooMany, why).with_code("certificate_too_soon");
        if row.attempts > 0 && row.next_try > now {
            return Err(too_many(format!(
                "the last try for {host} failed ({}): mend that; it is tried again at {}",
                row.reason, row.next_try
            )));
        }
        let again = row.issued_at.plus(plan::ASKED_AGAIN);
        if !row.chain.is_empty() && again > now {
            return Err(too_many(format!(
                "the certificate of {host} came at {}: another can be asked for after {again}",
                row.issued_at
            )));
        }
        Ok(())
    }

    /// Has a certificate asked for now.
    pub async fn certificate_renew(
        &self,
        project: &str,
        host: &str,
        repeat: Option<&Once>,
    ) -> Result<Certificate> {
        match OnceTx::begin(&self.0.db, repeat).await? {
            Begun::Answered(Asked(_)) => {}
            Begun::New(mut once) => {
                let now = self.0.now();
                let since = self.project_since(project).await?;
                let row = certificates::get(&self.0.db, host)
                    .await?
                    .filter(|row| row.project == project && store::is_since(row.project_since, since));
                self.check_renewal(&row.ok_or_else(|| no_certificate(project, host))?).await?;
                if !certificates::ask_now(&mut once.tx, project, host, now).await? {
                    return Err(no_certificate(project, host));
                }
                let object = format!("certificate/{host}");
                let message = format!("a new certificate for {host} is asked for");
                self.event(&mut once.tx, project, "certificate.asked", object, message, Value::Null).await?;
                once.finish(&Asked(now), &*self.0.clock).await?;
                self.0.events.ring();
                self.0.wake.wake(host);
            }
        }
        self.certificate_get(project, host).await
    }
}

/// What is kept of a renewal that was asked for: its certificate is shown as it is when it is asked for again.
#[derive(serde::Serialize, serde::Deserialize)]
struct Asked(Timestamp);

fn no_certificate(project: &str, host: &str) -> Error {
    Error::not_found(format!("certificate for {host:?} in project {project:?}"))
}

fn route_view(row: RouteRow, certificate: String) -> Route {
    Route {
        project: row.project,
        host: row.host,
        paths: row.spec.paths,
        maintenance: row.spec.maintenance,
        redirect_https: row.spec.redirect_https,
        hsts: row.spec.hsts,
        max_body: row.spec.max_body,
        rate: row.spec.rate,
        certificate,
        created_at: row.created_at,
        generation: row.generation,
    }
}
