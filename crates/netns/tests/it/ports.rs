//! Dialling into a network, and ports that lead into it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use hafen_netns::{Egress, Error};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Home, Machine, talk};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_control_plane_dials_into_a_network() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let web = Machine::start(&network, "web-1", 11).await;
    let _server = web.serve(80);
    let stream = network.dial(SocketAddrV4::new(web.address, 80), SECOND).await.unwrap();
    assert_eq!(talk(stream, 5).await.unwrap(), "web-1 5");

    let refused = network.dial(SocketAddrV4::new(web.address, 81), SECOND).await.unwrap_err();
    assert!(refused.to_string().contains("Connection refused"), "{refused}");
    let absent = SocketAddrV4::new(Ipv4Addr::from_bits(web.address.to_bits() + 1), 80);
    assert!(matches!(network.dial(absent, SECOND / 5).await, Err(Error::Unreachable { .. })));
    let foreign = network.dial(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80), SECOND).await;
    assert!(matches!(foreign, Err(Error::Invalid { .. })), "{foreign:?}");
}

/// Whoever spoke to a machine that is not there yet, as the ends of connections to one of before do, does not delay who
/// comes once it is there.
#[tokio::test]
async fn a_machine_is_reached_as_soon_as_it_answers() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let web = Machine::attach(&network, "web-1", 11).await;
    let at = SocketAddrV4::new(web.address, 80);
    assert!(matches!(network.dial(at, SECOND / 5).await, Err(Error::Unreachable { .. })));
    web.run(&format!("ip addr add {}/24 dev eth0", web.address));
    let _server = web.serve(80);
    let stream = network.dial(at, SECOND / 4).await.unwrap();
    assert_eq!(talk(stream, 5).await.unwrap(), "web-1 5");
}

#[tokio::test]
async fn a_published_port_leads_to_machines_in_turn() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let machines = [Machine::start(&network, "web-1", 11).await, Machine::start(&network, "web-2", 12).await];
    let _servers = machines.each_ref().map(|machine| machine.serve(80));
    let mut backends: Vec<_> =
        machines.iter().map(|machine| SocketAddrV4::new(machine.address, 80)).collect();
    // Nobody listens there: passed over.
    backends.push(SocketAddrV4::new(machines[0].address, 81));
    let host = network.publish("p-1", ANY, backends.clone()).await.unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..12 {
        let answer = talk(TcpStream::connect(host).await.unwrap(), 300_000).await.unwrap();
        *seen.entry(answer).or_insert(0) += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["web-1 300000", "web-2 300000"]);
    assert!(seen.values().all(|count| *count >= 4), "{seen:?}");

    // Other backends, same port, and a connection of before goes on.
    let before = TcpStream::connect(host).await.unwrap();
    while network.publications().await.unwrap()[0].connections == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(network.publish("p-1", host, vec![]).await.unwrap(), host);
    assert_eq!(talk(TcpStream::connect(host).await.unwrap(), 0).await.unwrap_or_default(), "");
    assert!(talk(before, 3).await.unwrap().ends_with(" 3"));
    let listed = network.publications().await.unwrap();
    assert_eq!((listed.len(), listed[0].host, listed[0].refused), (1, host, 1));

    network.unpublish("p-1").await.unwrap();
    TcpStream::connect(host).await.unwrap_err();
    // The port is free again at once.
    let taken = TcpListener::bind(host).await.unwrap();
    let error = network.publish("p-1", host, backends).await.unwrap_err();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
    assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
    drop(taken);
}

#[tokio::test]
async fn many_connections_at_once() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let web = Machine::start(&network, "web-1", 11).await;
    let _server = web.serve(80);
    let inside = SocketAddrV4::new(web.address, 80);
    let host = network.publish("p-1", ANY, vec![inside]).await.unwrap();
    let mut talks = tokio::task::JoinSet::new();
    for bytes in 0..100 {
        let network = network.clone();
        talks.spawn(async move {
            let dialled = network.dial(inside, 5 * SECOND).await.unwrap();
            let published = TcpStream::connect(host).await.unwrap();
            let (one, other) = tokio::join!(talk(dialled, bytes), talk(published, 1000 * bytes));
            (bytes, one.unwrap(), other.unwrap())
        });
    }
    while let Some(talked) = talks.join_next().await {
        let (bytes, one, other) = talked.unwrap();
        assert_eq!((one, other), (format!("web-1 {bytes}"), format!("web-1 {}", 1000 * bytes)));
    }
    assert_eq!(network.publications().await.unwrap()[0].refused, 0);
}
