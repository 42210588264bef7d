//! Names, and networks from their making to their end.

use hafen_netns::{Config, Egress, Error, requirements};

use crate::support::{Home, Machine, config};

#[tokio::test]
async fn machines_of_one_network_reach_one_another_by_name() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let one = Machine::start(&network, "web-1", 11).await;
    let two = Machine::start(&network, "web-2", 12).await;
    network.hosts_set(vec![one.host(), two.host()]).await.unwrap();
    let status = network.status().await.unwrap();
    assert_eq!(status.degraded, Vec::<String>::new());
    assert!(one.pings(two.address));

    let gateway = status.config.gateway;
    let lookup = |what: &str| one.run(&format!("dig +short +tries=1 +time=2 @{gateway} {what}"));
    assert_eq!(lookup("web-2.hello.internal"), two.address.to_string());
    assert_eq!(lookup("web-2"), two.address.to_string());
    assert_eq!(lookup(&format!("-x {}", two.address)), "web-2.hello.internal.");
    assert_eq!(lookup("+tcp web-1.hello.internal"), one.address.to_string());
    assert_eq!(lookup("web-3.hello.internal"), "");
    // Nobody outside is asked, and the answer comes at once.
    assert!(one.run(&format!("dig +tries=1 +time=2 @{gateway} example.com")).contains("REFUSED"));

    // A name goes and another comes, at once.
    let renamed = hafen_netns::HostEntry { name: "db".into(), ..two.host() };
    network.hosts_set(vec![one.host(), renamed]).await.unwrap();
    assert_eq!(lookup("db.hello.internal"), two.address.to_string());
    assert_eq!(lookup("web-2.hello.internal"), "");
}

#[tokio::test]
async fn a_network_is_made_found_and_removed() {
    let home = Home::new();
    let wanted = config("n-1", Egress::None);
    let missing = home.networks.get("n-1").await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    assert_eq!(home.networks.list().unwrap(), []);
    home.networks.delete("n-1").await.unwrap();

    // Many at once: one holder.
    let tries = (0..8).map(|_| {
        let (networks, wanted) = (home.networks.clone(), wanted.clone());
        tokio::spawn(async move { networks.ensure(&wanted).await.unwrap().generation().to_owned() })
    });
    let mut generations = Vec::new();
    for made in tries.collect::<Vec<_>>() {
        generations.push(made.await.unwrap());
    }
    generations.dedup();
    assert_eq!(generations.len(), 1, "{generations:?}");
    assert_eq!(home.networks.get("n-1").await.unwrap().generation(), generations[0]);
    assert_eq!(home.networks.list().unwrap(), std::slice::from_ref(&wanted));

    let moved = Config { domain: "other.internal".into(), ..wanted.clone() };
    let refused = home.networks.ensure(&moved).await.unwrap_err();
    assert!(refused.to_string().contains("delete the network before"), "{refused}");

    home.networks.delete("n-1").await.unwrap();
    assert_eq!(home.networks.list().unwrap(), []);
    let again = home.networks.ensure(&moved).await.unwrap();
    assert_ne!(again.generation(), generations[0]);
}

#[test]
fn this_host_has_what_networks_need() {
    let lacking: Vec<_> = requirements().into_iter().filter(|requirement| !requirement.ok).collect();
    assert_eq!(lacking, []);
}
