//! What machines must not be able to do.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use hafen_netns::{Egress, Error, HostEntry, TapConfig};

use crate::support::{Home, Machine, mac, serve};

#[tokio::test]
async fn networks_reach_neither_each_other_nor_the_host() {
    let home = Home::new();
    let one = home.network("n-1", Egress::None).await;
    let two = home.network("n-2", Egress::None).await;
    let inside = Machine::start(&one, "web-1", 11).await;
    let beside = Machine::start(&one, "web-2", 12).await;
    let other = Machine::start(&two, "web-1", 11).await;
    let _servers = [beside.serve(80), other.serve(80)];
    // Free a moment ago.
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let _host = serve(Command::new("env"), SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), "host");

    assert_eq!(inside.asks(&format!("{}:80", beside.address)).unwrap(), "web-2 6");
    let gateway = one.status().await.unwrap().config.gateway;
    let other_gateway = two.status().await.unwrap().config.gateway;
    for (address, port) in
        [(other.address, 80), (other_gateway, 53), (gateway, port), (Ipv4Addr::LOCALHOST, port)]
    {
        assert_eq!(inside.asks(&format!("{address}:{port}")), None, "{address}:{port} was reached");
    }
    assert!(!inside.pings(other.address));
    assert!(!inside.pings(other_gateway));
    assert!(inside.pings(gateway));
}

#[tokio::test]
async fn forged_addresses_get_nowhere() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let one = Machine::start(&network, "web-1", 11).await;
    let two = Machine::start(&network, "web-2", 12).await;
    assert!(one.pings(two.address));
    assert_eq!(network.status().await.unwrap().spoofed_packets, 0);

    // Another IPv4 address than its own.
    let forged = Ipv4Addr::from_bits(one.address.to_bits() + 50);
    one.run(&format!("ip addr flush dev eth0 && ip addr add {forged}/24 dev eth0"));
    assert!(!one.pings(two.address));
    let after_address = network.status().await.unwrap().spoofed_packets;
    assert!(after_address > 0);

    // Its own address, from another card.
    let own = one.address;
    one.run(&format!("ip addr flush dev eth0 && ip addr add {own}/24 dev eth0"));
    assert!(one.pings(two.address), "its own address works again");
    one.run("ip link set eth0 address 52:54:00:00:00:99");
    assert!(!one.pings(two.address));
    assert!(network.status().await.unwrap().spoofed_packets > after_address);
    one.run(&format!("ip link set eth0 address {}", one.mac));
    assert!(one.pings(two.address));

    // IPv6 is not carried at all, although the cards have addresses of it.
    let link_local = two.run("ip -6 -brief addr show dev eth0 | grep -o 'fe80[^/]*'");
    assert!(!one.try_run(&format!("ping -6 -n -c 1 -W 1 {link_local}%eth0")).status.success());
}

#[tokio::test]
async fn an_address_belongs_to_one_machine() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let one = Machine::start(&network, "web-1", 11).await;
    let same_address = TapConfig { machine: "web-2".into(), mac: mac(12), address: one.address };
    assert!(matches!(network.tap(&same_address).await, Err(Error::Invalid { .. })));
    let foreign = TapConfig { machine: "web-2".into(), mac: mac(12), address: Ipv4Addr::new(10, 1, 2, 3) };
    assert!(matches!(network.tap(&foreign).await, Err(Error::Invalid { .. })));

    // Asked again for the same machine, the old card is dead and the new one works.
    let two = Machine::start(&network, "web-2", 12).await;
    let again = Machine::start(&network, "web-1", 11).await;
    assert!(again.pings(two.address));
    assert!(!one.pings(two.address));
    network.tap_delete("web-1").await.unwrap();
    network.tap_delete("web-1").await.unwrap();
    assert!(!again.pings(two.address));
    assert_eq!(network.status().await.unwrap().taps.len(), 1);
}

#[tokio::test]
async fn a_machine_that_nobody_announced_gets_no_lease_and_others_do() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let one = Machine::attach(&network, "web-1", 11).await;
    let two = Machine::attach(&network, "web-2", 12).await;
    network.hosts_set(vec![one.host()]).await.unwrap();
    let ask = "udhcpc -i eth0 -n -q -f -t 3 -T 1 -s /bin/true 2>&1";
    let said = one.run(ask);
    assert!(said.contains(&format!("lease of {} obtained", one.address)), "{said}");
    assert!(!two.try_run(ask).status.success(), "an unknown machine got a lease");

    // Known now, without a restart. The name it would like to have is not given to it.
    network.hosts_set(vec![one.host(), two.host()]).await.unwrap();
    let said = two.run(&format!("{ask} -x hostname:database"));
    assert!(said.contains(&format!("lease of {} obtained", two.address)), "{said}");
    let gateway = network.status().await.unwrap().config.gateway;
    one.run(&format!("ip addr add {}/24 dev eth0", one.address));
    let lookup =
        |name: &str| one.run(&format!("dig +short +tries=1 +time=2 @{gateway} {name}.hello.internal"));
    assert_eq!((lookup("database").as_str(), lookup("web-2")), ("", two.address.to_string()));
    let same = HostEntry { name: "web-3".into(), ..one.host() };
    assert!(matches!(network.hosts_set(vec![one.host(), same]).await, Err(Error::Invalid { .. })));
    assert!(matches!(
        network.hosts_set(vec![HostEntry { name: "a b".into(), ..one.host() }]).await,
        Err(Error::Invalid { .. })
    ));
}
