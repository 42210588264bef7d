//! The way out, and what is recorded of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use hafen_netns::{Config, Egress, EgressRecord, Network, Notice, Protocol, Watch};

use crate::outside::{EIGHT, HOST, Host, SEVEN, is_inside};
use crate::support::Machine;

/// The next records until `enough` of them are there.
async fn records(watch: &mut Watch, enough: impl Fn(&[EgressRecord]) -> bool) -> Vec<EgressRecord> {
    let mut seen = Vec::new();
    while !enough(&seen) {
        match tokio::time::timeout(Duration::from_secs(10), watch.next()).await {
            Ok(Some(Notice::Egress(record))) => seen.push(record),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
    seen
}

async fn works(network: &Network) {
    assert_eq!(network.status().await.unwrap().degraded, Vec::<String>::new());
}

#[tokio::test]
async fn without_egress_nothing_leaves() {
    let host = Host::new();
    let home = host.home();
    let network = home.network("n-1", Egress::None).await;
    let web = Machine::start(&network, "web-1", 11).await;
    for address in [format!("{SEVEN}:443"), format!("{HOST}:8080"), format!("{SEVEN}:80")] {
        assert_eq!(web.asks(&address), None, "{address} was reached");
    }
    let gateway = network.status().await.unwrap().config.gateway;
    assert!(web.run(&format!("dig +tries=1 @{gateway} seven.test")).contains("REFUSED"));
}

#[tokio::test]
async fn logged_egress_lets_out_and_records() {
    let host = Host::new();
    let home = host.home();
    let network = home.network("n-1", Egress::Logged).await;
    works(&network).await;
    let web = Machine::start(&network, "web-1", 11).await;
    let gateway = network.status().await.unwrap().config.gateway;

    // Nobody watches yet: nothing is lost.
    assert_eq!(web.run(&format!("dig +short +tries=1 @{gateway} seven.test")), SEVEN.to_string());
    assert_eq!(web.asks(&format!("{SEVEN}:443")).unwrap(), "seven 6");
    assert_eq!(web.asks(&format!("{EIGHT}:443")).unwrap(), "eight 6");
    // Neither this host nor its loopback, nor the resolver behind the gateway's back.
    for refused in [format!("{HOST}:8080"), "169.254.77.1:53".into(), "127.0.0.1:8080".into()] {
        assert_eq!(web.asks(&refused), None, "{refused} was reached");
    }
    // A watcher that dies over the first record.
    let first = records(&mut network.watch().await.unwrap(), |seen| !seen.is_empty()).await;
    let mut watch = network.watch().await.unwrap();
    let seen = records(&mut watch, |seen| seen.len() >= 5).await;
    assert_eq!(seen[0], first[0]);
    let lookup = seen.iter().find(|record| record.protocol == Protocol::Dns).unwrap();
    assert_eq!((lookup.name.as_deref(), lookup.allowed), (Some("seven.test"), true));
    let find = |to: Ipv4Addr| seen.iter().find(|record| record.destination == to).unwrap();
    let seven = find(SEVEN);
    assert_eq!((seven.port, seven.protocol, seven.allowed, seven.count), (443, Protocol::Tcp, true, 1));
    assert_eq!((seven.source, seven.name.as_deref()), (web.address, Some("seven.test")));
    assert_eq!(find(EIGHT).name, None);
    assert!(!find(HOST).allowed);

    // The watcher asks for more: what it had is done with, for every later one too.
    let next = tokio::time::timeout(Duration::from_millis(200), watch.next());
    assert!(next.await.is_err(), "something came twice");
    drop(watch);
    let mut watch = network.watch().await.unwrap();
    assert_eq!(web.asks(&format!("{SEVEN}:80")).unwrap(), "seven 6");
    let fresh = records(&mut watch, |fresh| !fresh.is_empty()).await;
    assert_eq!((fresh[0].destination, fresh[0].port), (SEVEN, 80));
}

#[tokio::test]
async fn allowed_egress_refuses_and_records_the_rest() {
    let host = Host::new();
    let home = host.home();
    let allow = |list: &[&str]| Egress::Allow(list.iter().map(|text| (*text).to_owned()).collect());
    let network = home.network("n-1", allow(&["seven.test:443", "198.51.100.8:*"])).await;
    works(&network).await;
    let web = Machine::start(&network, "web-1", 11).await;
    let config = network.status().await.unwrap().config;
    let lookup = |name: &str| web.run(&format!("dig +tries=1 @{} {name}", config.gateway));

    // An allowed name leads where it pointed when it was looked up, at its port only.
    assert_eq!(web.asks(&format!("{SEVEN}:443")), None, "not looked up yet");
    assert!(lookup("seven.test").contains(&SEVEN.to_string()));
    assert_eq!(web.asks(&format!("{SEVEN}:443")).unwrap(), "seven 6");
    assert_eq!(web.asks(&format!("{SEVEN}:80")), None);
    assert_eq!(web.asks(&format!("{EIGHT}:443")).unwrap(), "eight 6");
    assert_eq!(web.asks(&format!("{HOST}:8080")), None);
    // Names that are not allowed are not even asked for; subdomains are other hosts.
    assert!(lookup("eight.test").contains("REFUSED"));
    let below = lookup("sub.seven.test");
    assert!(!below.contains(&SEVEN.to_string()), "{below}");

    let mut watch = network.watch().await.unwrap();
    let told = |seen: &[EgressRecord], to: Ipv4Addr, port: u16, allowed: bool| {
        seen.iter().any(|record| (record.destination, record.port, record.allowed) == (to, port, allowed))
    };
    let asked = |seen: &[EgressRecord], name: &str| {
        let dns = |record: &&EgressRecord| record.protocol == Protocol::Dns && !record.allowed;
        seen.iter()
            .filter(dns)
            .any(|record| record.name.as_deref() == Some(name) && record.source == web.address)
    };
    records(&mut watch, |seen| {
        told(seen, SEVEN, 443, false)
            && told(seen, SEVEN, 443, true)
            && told(seen, SEVEN, 80, false)
            && told(seen, EIGHT, 443, true)
            && told(seen, HOST, 8080, false)
            && asked(seen, "eight.test")
            && asked(seen, "sub.seven.test")
    })
    .await;

    // Changed in place: the holder and its taps stay.
    let generation = network.generation().to_owned();
    let narrower = Config { egress: allow(&["seven.test:80"]), ..config.clone() };
    let network = home.networks.ensure(&narrower).await.unwrap();
    works(&network).await;
    assert_eq!(network.generation(), generation);
    lookup("seven.test");
    assert_eq!(web.asks(&format!("{SEVEN}:80")).unwrap(), "seven 6");
    assert_eq!(web.asks(&format!("{SEVEN}:443")), None);
    assert_eq!(web.asks(&format!("{EIGHT}:443")), None);
    let none = Config { egress: Egress::None, ..config };
    home.networks.ensure(&none).await.unwrap();
    assert_eq!(web.asks(&format!("{SEVEN}:80")), None);
}

#[tokio::test]
async fn a_way_out_that_breaks_is_mended_and_told() {
    let host = Host::new();
    let home = host.home();
    let network = home.network("n-1", Egress::Logged).await;
    works(&network).await;
    let web = Machine::start(&network, "web-1", 11).await;
    let holder = network.status().await.unwrap().pid;
    let pasta = crate::life::relatives(holder).into_iter().find(|(_, name)| name.starts_with("pas")).unwrap();
    crate::life::kill(pasta.0);
    crate::life::until("trouble is told", async || !network.status().await.unwrap().degraded.is_empty())
        .await;
    crate::life::until("pasta is back", async || network.status().await.unwrap().degraded.is_empty()).await;
    assert_eq!(web.asks(&format!("{SEVEN}:443")).unwrap(), "seven 6");
}

#[tokio::test]
async fn a_host_that_is_offline_has_networks_all_the_same() {
    if is_inside() {
        // The host of the others stays online.
        return;
    }
    let host = Host::new();
    assert!(host.command().args(["ip", "route", "delete", "default"]).status().unwrap().success());
    let home = host.home();
    let network = home.network("n-1", Egress::Logged).await;
    let degraded = network.status().await.unwrap().degraded;
    assert!(degraded.len() == 1 && degraded[0].starts_with("egress does not work: pasta: "), "{degraded:?}");
    let one = Machine::start(&network, "web-1", 11).await;
    let two = Machine::start(&network, "web-2", 12).await;
    assert!(one.pings(two.address));

    let route = ["ip", "route", "add", "default", "via", "192.0.2.1"];
    assert!(host.command().args(route).status().unwrap().success());
    crate::life::until("egress works", async || network.status().await.unwrap().degraded.is_empty()).await;
    assert_eq!(one.asks(&format!("{SEVEN}:443")).unwrap(), "seven 6");
}
