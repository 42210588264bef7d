//! The steps of apps, backends of clusters, and routes.
//!
//! Up: an app follows the cluster it runs on and the image that builds it, a route what it leads to. Down: a route is taken away, or
//! led elsewhere, before what it led to goes; and that before its machines.

use std::collections::HashMap;

use super::{Builder, Work};
use crate::diff::Verb;
use crate::diff::delivery::targets;

impl<'a> Builder<'a> {
    /// Adds to `led_to`, for each group, the steps that end its use. Gives the images that apps were built by, each with the step
    /// after which its app needs it no more.
    pub(super) fn delivery(&mut self, led_to: &mut HashMap<&'a str, Vec<usize>>) -> Vec<(&'a str, usize)> {
        let apps = self.apps();
        let backends = self.backends();
        let leaving = self.routes(&apps, &backends);
        let mut builders = Vec::new();
        for item in &self.diff.apps {
            let Some(found) = item.actual else { continue };
            let step = if item.verb == Verb::Delete {
                let after = leaving.get(item.name).cloned().unwrap_or_default();
                self.push(Work::AppDelete, item.name, "delete", None, after)
            } else {
                let Some(step) = apps.get(item.name) else { continue };
                *step
            };
            let stays = item.wanted.is_some_and(|wanted| wanted.on == found.spec.on);
            if !stays {
                led_to.entry(found.spec.on.as_str()).or_default().push(step);
            }
            if let Some(build) = &found.spec.build {
                builders.push((build.image.as_str(), step));
            }
        }
        for item in &self.diff.backends {
            let step = if item.verb == Verb::Delete {
                let after = leaving.get(item.name).cloned().unwrap_or_default();
                self.push(Work::BackendDelete, item.name, "delete", None, after)
            } else {
                let Some(step) = backends.get(item.name) else { continue };
                *step
            };
            // Of a cluster that shrinks, nobody is led to what goes.
            if item.actual.is_some() {
                led_to.entry(item.name).or_default().push(step);
            }
        }
        builders
    }

    fn apps(&mut self) -> HashMap<&'a str, usize> {
        let mut steps = HashMap::new();
        let changed: HashMap<&str, Verb> = self.diff.apps.iter().map(|item| (item.name, item.verb)).collect();
        for (name, wanted) in &self.input.wanted.apps {
            let (work, action) = match changed.get(name.as_str()) {
                Some(Verb::Create) => (Work::AppPut, "create"),
                Some(_) => (Work::AppPut, "update"),
                None if self.begun("app", name) => (Work::AppWait, "wait"),
                None => continue,
            };
            let image = wanted.build.as_ref().and_then(|build| self.images.get(build.image.as_str()));
            let mut after: Vec<usize> = self.project.into_iter().chain(image.copied()).collect();
            after.extend(self.gate_of(&wanted.on));
            let step = self.push(work, name, action, None, after);
            steps.insert(name.as_str(), step);
        }
        steps
    }

    fn backends(&mut self) -> HashMap<&'a str, usize> {
        let mut steps = HashMap::new();
        for item in self.diff.backends.iter().filter(|item| item.verb != Verb::Delete) {
            let action = if item.verb == Verb::Create { "create" } else { "update" };
            let after = self.project.into_iter().chain(self.gate_of(item.name)).collect();
            steps.insert(item.name, self.push(Work::BackendPut, item.name, action, None, after));
        }
        steps
    }

    /// Gives, for each backend, the steps that lead away from it.
    fn routes(
        &mut self,
        apps: &HashMap<&'a str, usize>,
        backends: &HashMap<&'a str, usize>,
    ) -> HashMap<&'a str, Vec<usize>> {
        let mut leaving: HashMap<&str, Vec<usize>> = HashMap::new();
        for item in &self.diff.routes {
            let step = match item.wanted {
                Some(wanted) => {
                    let action = if item.verb == Verb::Create { "create" } else { "update" };
                    let mut after: Vec<usize> = self.project.into_iter().collect();
                    for target in wanted.paths.values().flatten() {
                        let backend = target.backend.as_str();
                        after.extend(apps.get(backend).or_else(|| backends.get(backend)));
                    }
                    self.push(Work::RoutePut, item.name, action, None, after)
                }
                None => self.push(Work::RouteDelete, item.name, "delete", None, Vec::new()),
            };
            for target in item.actual.map(targets).into_iter().flatten() {
                leaving.entry(target).or_default().push(step);
            }
        }
        leaving
    }
}
