use hafen_netns::Egress;

use crate::support::{Home, Machine};

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
    let answer = one.run(&format!("dig +short @{gateway} web-2.hello.internal"));
    assert_eq!(answer, two.address.to_string());
}
