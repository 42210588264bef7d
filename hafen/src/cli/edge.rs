//! `route`, `certificate`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use hafen_base::{Error, Result};
use hafen_client::wire::{Certificate, HSTS, Route, RoutePut, RouteTarget};
use hafen_client::{Client, Conditions};

use super::context::{Context, client, usage};
use crate::output;

#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// List hosts and what they lead to.
    List,
    /// Show a host.
    Show { host: String },
    /// Say what a host leads to: `hafen route set shop.example.org /=legacy:80,shop:20 /api=shop`.
    Set(RouteSetArgs),
    /// Take a host back.
    Delete { host: String },
}

#[derive(Debug, Args)]
pub struct RouteSetArgs {
    host: String,
    /// `PATH=BACKEND`, or `PATH=BACKEND:WEIGHT,BACKEND:WEIGHT`; a backend alone takes everything.
    #[arg(required = true, value_name = "PATH=BACKEND", value_parser = path_of)]
    paths: Vec<(String, Vec<RouteTarget>)>,
    /// Answer everything with a page that says that the site is being worked on.
    #[arg(long)]
    maintenance: bool,
    /// Answer over http, too, and do not lead to https.
    #[arg(long)]
    plain_http: bool,
    /// Seconds for which browsers are told to come by https only; 0 tells them nothing.
    #[arg(long, default_value_t = HSTS, value_parser = clap::value_parser!(u32).range(0..=63_072_000))]
    hsts: u32,
    /// Largest body of a request in bytes; 0 for no limit of the host's own.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    max_body: i64,
    /// Requests a second from one client address; 0 for no limit.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rate: u32,
}

#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// List certificates.
    List,
    /// Show a certificate.
    Show { host: String },
    /// Have a certificate renewed now.
    Renew {
        host: String,
        /// Wait until it is there; fails when it cannot be had.
        #[arg(long)]
        wait: bool,
    },
    /// Print the root of certificates for internal names, to be trusted by browsers and clients.
    Authority,
}

/// `/api=a:80,b:20`, `/api=a`, or `a`.
fn path_of(text: &str) -> Result<(String, Vec<RouteTarget>), String> {
    let (path, targets) = text.split_once('=').unwrap_or(("/", text));
    let target = |text: &str| {
        let (backend, weight) = text.split_once(':').unwrap_or((text, "100"));
        let weight =
            weight.parse().map_err(|_| format!("{weight:?} is no weight: a number from 0 to 10000"))?;
        Ok(RouteTarget { backend: backend.to_owned(), weight })
    };
    let targets = targets.split(',').map(target).collect::<Result<Vec<_>, String>>()?;
    Ok((path.to_owned(), targets))
}

fn shown(path: &str, targets: &[RouteTarget]) -> String {
    match targets {
        [only] => format!("{path}={}", only.backend),
        several => {
            let texts: Vec<String> =
                several.iter().map(|target| format!("{}:{}", target.backend, target.weight)).collect();
            format!("{path}={}", texts.join(","))
        }
    }
}

fn print_routes(routes: &[Route]) {
    let rows: Vec<Vec<String>> = routes
        .iter()
        .map(|route| {
            let paths: Vec<String> = route.paths.iter().map(|(path, targets)| shown(path, targets)).collect();
            let note = if route.maintenance { "maintenance" } else { "" };
            vec![route.host.clone(), paths.join(" "), route.certificate.clone(), note.into()]
        })
        .collect();
    output::table(&["HOST", "PATHS", "CERTIFICATE", "NOTE"], &rows);
}

/// What a path of a request cannot be.
fn host_of(host: &str) -> Result<String> {
    let good =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-*_".contains(&byte));
    if good { Ok(host.to_ascii_lowercase()) } else { Err(usage(format!("{host:?} is no host"))) }
}

pub async fn route(context: &Context, command: RouteCommand) -> Result<()> {
    let client = client()?;
    let project = context.project(&client).await?;
    let route = match command {
        RouteCommand::List => {
            let routes = client.route_list(&project).await?;
            if context.json {
                return output::json_list(&routes);
            }
            print_routes(&routes);
            return Ok(());
        }
        RouteCommand::Show { host } => client.route_get(&project, &host_of(&host)?).await?,
        RouteCommand::Set(args) => {
            let body = RoutePut {
                paths: args.paths.into_iter().collect::<BTreeMap<_, _>>(),
                maintenance: args.maintenance,
                redirect_https: !args.plain_http,
                hsts: args.hsts,
                max_body: args.max_body,
                rate: args.rate,
            };
            client.route_put(&project, &host_of(&args.host)?, &body, &Conditions::default()).await?
        }
        RouteCommand::Delete { host } => {
            client.route_delete(&project, &host_of(&host)?, &Conditions::default()).await?;
            output::note(&format!("{host} leads nowhere any more"));
            return Ok(());
        }
    };
    if context.json {
        return output::json(&route);
    }
    print_routes(&[route]);
    Ok(())
}

fn print_certificates(certificates: &[Certificate]) {
    let time = |time: &Option<hafen_base::Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    let rows: Vec<Vec<String>> = certificates
        .iter()
        .map(|one| {
            vec![
                one.host.clone(),
                one.issuer.clone(),
                one.state.clone(),
                time(&one.not_after),
                time(&one.next_try),
                one.reason.clone(),
            ]
        })
        .collect();
    output::table(&["HOST", "ISSUER", "STATE", "GOOD UNTIL", "NEXT TRY", "REASON"], &rows);
}

/// Waits until a host has another certificate than this.
async fn wait_other(client: &Client, project: &str, before: &Certificate) -> Result<Certificate> {
    loop {
        let now = client.certificate_get(project, &before.host).await?;
        if now.fingerprint.is_some() && now.fingerprint != before.fingerprint {
            return Ok(now);
        }
        if now.state == "failed" && now.attempts > before.attempts {
            return Err(Error::unavailable(format!("no certificate for {}: {}", now.host, now.reason)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub async fn certificate(context: &Context, command: CertificateCommand) -> Result<()> {
    let client = client()?;
    if matches!(command, CertificateCommand::Authority) {
        let authority = client.edge_authority().await?;
        if context.json {
            return output::json(&authority);
        }
        output::raw(authority.certificate.as_bytes());
        return Ok(());
    }
    let project = context.project(&client).await?;
    let certificate = match command {
        CertificateCommand::List | CertificateCommand::Authority => {
            let certificates = client.certificate_list(&project).await?;
            if context.json {
                return output::json_list(&certificates);
            }
            print_certificates(&certificates);
            return Ok(());
        }
        CertificateCommand::Show { host } => client.certificate_get(&project, &host_of(&host)?).await?,
        CertificateCommand::Renew { host, wait } => {
            let host = host_of(&host)?;
            let before = client.certificate_get(&project, &host).await?;
            let asked = client.certificate_renew(&project, &host, &Conditions::default()).await?;
            if wait { wait_other(&client, &project, &before).await? } else { asked }
        }
    };
    if context.json {
        return output::json(&certificate);
    }
    print_certificates(&[certificate]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let (path, targets) = path_of("/api=old:80,new:20").unwrap();
        assert_eq!(shown(&path, &targets), "/api=old:80,new:20");
        assert_eq!(path_of("web").map(|(path, targets)| shown(&path, &targets)), Ok("/=web".into()));
        assert!(path_of("/=a:x").is_err());
    }
}
