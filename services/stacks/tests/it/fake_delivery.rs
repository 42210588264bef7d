//! The part of the platform in memory that has apps, routes and secrets. Strict about order: an app needs machines and its secrets, a
//! route what it leads to, and neither goes while the other holds it.

use std::collections::{BTreeMap, BTreeSet};

use hafen_base::{Error, Result, Timestamp};
use hafen_client::wire::{App, AppSpec, Backend, BackendEndpoint, BackendPut, Route, RoutePut};

use crate::fake::BROKEN;

#[derive(Default)]
pub struct Delivery {
    pub apps: BTreeMap<String, App>,
    pub backends: BTreeMap<String, Backend>,
    pub routes: BTreeMap<String, Route>,
    pub secrets: BTreeSet<String>,
}

impl Delivery {
    fn now() -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000)
    }

    /// One moment passes.
    pub fn pass(&mut self) {
        self.apps.retain(|_, app| app.state != "destroying");
        for app in self.apps.values_mut().filter(|app| app.observed_generation < app.generation) {
            app.observed_generation = app.generation;
            let broken = app.spec.run.as_deref() == Some(BROKEN);
            app.state = if broken { "failed" } else { "running" }.into();
            app.reason = if broken { "GET /healthz answers 500".into() } else { String::new() };
        }
    }

    pub fn app_put(&mut self, project: &str, name: &str, body: &AppSpec, machines: usize) -> Result<App> {
        if machines == 0 {
            return Err(Error::invalid(format!("no machine of {} is healthy", body.on)));
        }
        if let Some(secret) = body.secrets().into_iter().find(|secret| !self.secrets.contains(*secret)) {
            return Err(Error::invalid(format!("there is no secret {secret}")));
        }
        let app = self.apps.entry(name.to_owned()).or_insert_with(|| App {
            project: project.to_owned(),
            name: name.to_owned(),
            spec: body.clone(),
            state: "deploying".into(),
            reason: String::new(),
            release: None,
            deployment: None,
            processes: Vec::new(),
            created_at: Self::now(),
            updated_at: Self::now(),
            generation: 1,
            observed_generation: 0,
        });
        if app.state == "destroying" {
            return Err(Error::conflict("it is being destroyed"));
        }
        if app.spec != *body {
            app.spec = body.clone();
            app.state = "deploying".into();
            app.generation += 1;
        }
        let app = app.clone();
        // Whoever delivers it writes where it is to be found.
        self.backend_put(project, name, &BackendPut::default());
        Ok(app)
    }

    fn held(&self, backend: &str) -> Result<()> {
        let leads = |route: &&Route| route.paths.values().flatten().any(|target| target.backend == backend);
        match self.routes.values().find(leads) {
            Some(route) => Err(Error::invalid(format!("{} still leads to {backend}", route.host))),
            None => Ok(()),
        }
    }

    pub fn app_delete(&mut self, name: &str) -> Result<()> {
        self.held(name)?;
        let app = self.apps.get_mut(name).ok_or_else(|| Error::not_found("app"))?;
        app.state = "destroying".into();
        self.backends.remove(name);
        Ok(())
    }

    pub fn backend_put(&mut self, project: &str, name: &str, body: &BackendPut) -> Backend {
        let generation = self.backends.get(name).map_or(1, |found| found.generation + 1);
        let endpoints = body.endpoints.iter().map(|one| BackendEndpoint {
            id: one.id.clone(),
            machine: one.machine.clone(),
            port: one.port,
            address: one.address.clone(),
            state: one.state,
            healthy: true,
            ejected: false,
            in_flight: 0,
            requests: 0,
            reason: String::new(),
        });
        let backend = Backend {
            project: project.to_owned(),
            name: name.to_owned(),
            health: body.health.clone(),
            endpoints: endpoints.collect(),
            writer_generation: 0,
            generation,
        };
        self.backends.insert(name.to_owned(), backend.clone());
        backend
    }

    pub fn backend_delete(&mut self, name: &str) -> Result<()> {
        self.held(name)?;
        self.backends.remove(name).map(drop).ok_or_else(|| Error::not_found("backend"))
    }

    pub fn route_put(&mut self, project: &str, host: &str, body: &RoutePut) -> Result<Route> {
        for target in body.paths.values().flatten() {
            if !self.backends.contains_key(&target.backend) {
                return Err(Error::invalid(format!("there is no backend {}", target.backend)));
            }
        }
        let generation = self.routes.get(host).map_or(1, |found| found.generation + 1);
        let route = Route {
            project: project.to_owned(),
            host: host.to_owned(),
            paths: body.paths.clone(),
            maintenance: body.maintenance,
            redirect_https: body.redirect_https,
            hsts: body.hsts,
            max_body: body.max_body,
            rate: body.rate,
            certificate: "pending".into(),
            created_at: Self::now(),
            generation,
        };
        self.routes.insert(host.to_owned(), route.clone());
        Ok(route)
    }

    pub fn route_delete(&mut self, host: &str) -> Result<()> {
        self.routes.remove(host).map(drop).ok_or_else(|| Error::not_found("route"))
    }
}
