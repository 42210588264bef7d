//! Apps and routes of a manifest as the API takes them.

use std::collections::BTreeMap;
use std::time::Duration;

use hafen_client::wire::{
    AppBuild, AppEnv, AppHealth, AppPreview, AppSource, AppSpec, AppStrategy, BackendHealth, BackendPut,
    EndpointPut, EndpointState, RoutePut, RouteTarget, SecretReference,
};
use hafen_manifest::{App, Env, Manifest};

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn apps(manifest: &Manifest) -> BTreeMap<String, AppSpec> {
    manifest.apps.iter().map(|(name, app)| (name.clone(), spec(app))).collect()
}

fn spec(app: &App) -> AppSpec {
    AppSpec {
        source: AppSource {
            repository: app.source.repository.clone(),
            git: app.source.git.clone(),
            branch: app.source.branch.clone(),
            token: app.source.token.clone().map(|secret| SecretReference { secret }),
            username: app.source.username.clone(),
        },
        build: app.build.as_ref().map(|build| AppBuild {
            image: build.image.clone(),
            run: build.run.clone(),
            output: build.output.clone(),
            cache: build.cache.clone(),
            env: env(&build.env),
            timeout_ms: millis(build.timeout),
        }),
        on: app.on.clone(),
        run: app.run.clone(),
        static_files: app.static_files.clone(),
        port: app.port,
        replicas: i64::from(app.replicas),
        health: app.health.as_ref().map(|health| AppHealth {
            path: health.path.clone(),
            healthy_after: i64::from(health.healthy_after),
            interval_ms: millis(health.interval),
            timeout_ms: millis(health.timeout),
        }),
        strategy: if app.strategy == "blue-green" { AppStrategy::BlueGreen } else { AppStrategy::Rolling },
        migrate: app.migrate.clone(),
        env: env(&app.env),
        preview: app.preview.as_ref().map(|preview| AppPreview {
            branches: preview.branches.clone(),
            expires_ms: millis(preview.expires),
            domain: preview.domain.clone(),
        }),
    }
}

fn env(env: &BTreeMap<String, Env>) -> BTreeMap<String, AppEnv> {
    env.iter()
        .map(|(name, value)| {
            let value = match value {
                Env::Text(text) => AppEnv::Text(text.clone()),
                Env::Secret(secret) => AppEnv::Secret(SecretReference { secret: secret.clone() }),
            };
            (name.clone(), value)
        })
        .collect()
}

/// The clusters that routes lead to, as backends: every machine at the port.
pub(super) fn backends(manifest: &Manifest) -> BTreeMap<String, BackendPut> {
    let backend = |(section, port): (&String, &u16)| {
        let health = manifest.machines.get(section).and_then(|machine| machine.health.as_ref());
        let health = health.filter(|health| health.port == *port).and_then(|health| {
            Some(BackendHealth {
                path: health.http.clone()?,
                interval_ms: small(health.interval),
                healthy_after: health.healthy_after,
                unhealthy_after: 3,
                // The edge does not wait for longer than a minute.
                timeout_ms: small(health.timeout).min(60_000),
            })
        });
        let endpoints = manifest
            .members(section)
            .into_iter()
            .map(|machine| EndpointPut {
                id: machine.clone(),
                machine: Some(machine),
                port: Some(*port),
                address: None,
                state: EndpointState::Active,
            })
            .collect();
        (section.clone(), BackendPut { health, endpoints, generation: None })
    };
    manifest.clusters.iter().map(backend).collect()
}

fn small(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn routes(manifest: &Manifest) -> BTreeMap<String, RoutePut> {
    let route = |(host, route): (&String, &hafen_manifest::Route)| {
        let paths = route
            .paths
            .iter()
            .map(|(path, targets)| {
                let targets = targets
                    .iter()
                    .map(|target| RouteTarget { backend: target.backend.clone(), weight: target.weight })
                    .collect();
                (path.clone(), targets)
            })
            .collect();
        let put = RoutePut {
            paths,
            maintenance: route.maintenance,
            redirect_https: route.redirect_https,
            hsts: u32::try_from(route.hsts.as_secs()).unwrap_or(u32::MAX),
            max_body: super::number(route.max_body),
            rate: route.rate,
        };
        (host.clone(), put)
    };
    manifest.routes.iter().map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
project = "shop"
[network.backend]
[image.builder]
distribution = "debian"
release = "trixie"
[machine.web]
count = 2
image = "builder"
network = "backend"
[machine.legacy]
count = 2
image = "builder"
network = "backend"
health = { http = "/up", interval = "5s" }
[app.shop]
source = { repository = "shop" }
build = { image = "builder", run = ["make dist"], output = "dist", env = { MODE = "release", TOKEN = { secret = "npm-token" } } }
on = "web"
run = "./shop"
strategy = "blue-green"
env = { LOG = "info", DB = { secret = "db-password" } }
preview = { branches = ["feature/*"] }
[route."shop.example.org"]
paths = { "/" = "legacy", "/api" = { app = "shop", weight = 20 } }
max_body = "10 MiB"
"#;

    #[test]
    fn apps_and_routes_are_read_as_the_api_takes_them() {
        let manifest = hafen_manifest::parse(SHOP, "hafen.toml", &|_| Err(String::new())).unwrap();
        let shop = &apps(&manifest)["shop"];
        assert_eq!((shop.strategy, shop.replicas, shop.port), (AppStrategy::BlueGreen, 1, 8080));
        assert_eq!(shop.build.as_ref().unwrap().timeout_ms, 600_000);
        assert_eq!(shop.preview.as_ref().unwrap().expires_ms, 7 * 24 * 3_600_000);
        assert_eq!(shop.secrets().into_iter().collect::<Vec<_>>(), ["db-password", "npm-token"]);
        assert_eq!(shop.build.as_ref().unwrap().env["MODE"], AppEnv::Text("release".into()));
        // What it is by the API's own defaults.
        let text = serde_json::to_string(shop).unwrap();
        assert_eq!(serde_json::from_str::<AppSpec>(&text).unwrap(), *shop);
        let private = "{ git = \"https://git.example.org/shop\", token = { secret = \"read-shop\" }, username = \"ci\" }";
        let private = SHOP.replace("{ repository = \"shop\" }", private);
        let private = hafen_manifest::parse(&private, "hafen.toml", &|_| Err(String::new())).unwrap();
        let private = &apps(&private)["shop"];
        assert_eq!(private.source.username.as_deref(), Some("ci"));
        assert!(private.secrets().contains("read-shop"), "a plan says when it is not there");
        let route = &routes(&manifest)["shop.example.org"];
        let weights: Vec<_> =
            route.paths["/api"].iter().map(|one| (one.backend.as_str(), one.weight)).collect();
        assert_eq!(weights, [("shop", 20), ("legacy", 80)]);
        assert_eq!((route.hsts, route.max_body), (hafen_client::wire::HSTS, 10 << 20));
        let legacy = &backends(&manifest)["legacy"];
        let endpoints: Vec<_> = legacy.endpoints.iter().map(|one| (one.id.as_str(), one.port)).collect();
        assert_eq!(endpoints, [("legacy-1", Some(80)), ("legacy-2", Some(80))]);
        assert_eq!(legacy.health.as_ref().map(|health| health.interval_ms), Some(5000));
        assert!(!backends(&manifest).contains_key("shop"), "whoever delivers the app writes that");
    }
}
