//! Deaths: of the control plane, of holders, of their programs.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hafen_netns::{Egress, Error, Networks, Notice};
use rustix::process::{Pid, Signal};
use tokio::net::TcpStream;

use crate::outside::{Host, SEVEN};
use crate::support::{Home, Machine, config, holder, talk};

/// All processes below the holder with this pid and its other half, with their names.
pub fn relatives(holder: u32) -> Vec<(u32, String)> {
    let stat = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent: u32 = fields.next()?.parse().ok()?;
        (state != "Z").then(|| (parent, name.to_owned()))
    };
    let all: Vec<(u32, u32, String)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter_map(|pid| stat(pid).map(|(parent, name)| (pid, parent, name)))
        .collect();
    let outer = all.iter().find(|(pid, ..)| *pid == holder).map_or(0, |(_, parent, _)| *parent);
    let mut family = vec![outer];
    loop {
        let more = all.iter().filter(|(pid, parent, _)| family.contains(parent) && !family.contains(pid));
        let more: Vec<_> = more.map(|(pid, ..)| *pid).collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    all.into_iter().filter(|(pid, ..)| family.contains(pid)).map(|(pid, _, name)| (pid, name)).collect()
}

pub fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(15), wait).await.is_ok(), "never came: {what}");
}

/// The control plane of the next test: ensures a network, says so, and waits for its death.
#[tokio::test]
async fn control_plane() {
    let Some(root) = std::env::var_os("HAFEN_NETNS_TEST_CONTROL") else { return };
    let networks = Networks::new(root.as_ref(), vec![holder()]);
    networks.ensure(&config("n-1", Egress::None)).await.unwrap();
    println!("\nensured");
    std::future::pending::<()>().await;
}

/// A control plane in a session of its own, as a terminal or a service manager would start it.
fn start_control_plane(home: &Home) -> Child {
    Command::new("setsid")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "life::control_plane", "--nocapture"])
        .env("HAFEN_NETNS_TEST_CONTROL", home.root())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills its whole group.
fn kill_control_plane(mut control: Child) {
    let group = Pid::from_raw(i32::try_from(control.id()).unwrap()).unwrap();
    // Not there yet, if it was killed before setsid ran.
    if rustix::process::kill_process_group(group, Signal::KILL).is_err() {
        control.kill().unwrap();
    }
    control.wait().unwrap();
}

#[tokio::test]
async fn a_control_plane_killed_at_any_moment_leaves_what_the_next_can_use() {
    for moment in [0, 5, 10, 20, 35, 50, 70, 90, 120, 160, 220] {
        let home = Home::new();
        let control = start_control_plane(&home);
        // Not waiting for anything: the moment is the test.
        tokio::time::sleep(Duration::from_millis(moment)).await;
        kill_control_plane(control);
        let network = home.networks.ensure(&config("n-1", Egress::None)).await;
        let network = match network {
            // It got as far as to make the network, with addresses of its own.
            Err(Error::Invalid { .. }) => home.networks.get("n-1").await.unwrap(),
            other => other.unwrap(),
        };
        let status = network.status().await.unwrap();
        assert_eq!(status.degraded, Vec::<String>::new());
        let _web = Machine::start(&network, "web-1", 11).await;
        // One that comes second ends by itself.
        until("only one holder is left", async || {
            let family = relatives(status.pid);
            let own = |pid: &u32| family.iter().any(|(own, _)| own == pid);
            processes_naming(&home.root().join("n-1")).iter().all(own)
        })
        .await;
        assert_eq!(network.status().await.unwrap().generation, status.generation);
    }
}

/// Processes with this path in their command line, but for this one.
fn processes_naming(path: &Path) -> Vec<u32> {
    let path = path.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(path)
        })
        .collect()
}

#[tokio::test]
async fn a_network_outlives_the_control_plane() {
    let home = Home::new();
    let mut control = start_control_plane(&home);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(control.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap() == "ensured"));
    let network = home.networks.get("n-1").await.unwrap();
    let web = Machine::start(&network, "web-1", 11).await;
    let _server = web.serve(80);
    network.hosts_set(vec![web.host()]).await.unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let host = network.publish("p-1", any, vec![SocketAddrV4::new(web.address, 80)]).await.unwrap();

    kill_control_plane(control);
    assert_eq!(talk(TcpStream::connect(host).await.unwrap(), 3).await.unwrap(), "web-1 3");

    // The next control plane finds everything.
    let status = network.status().await.unwrap();
    let again = home.networks.ensure(&status.config).await.unwrap();
    assert_eq!(again.generation(), network.generation());
    let publications = again.publications().await.unwrap();
    assert_eq!((publications[0].id.as_str(), publications[0].host), ("p-1", host));
    assert_eq!(again.status().await.unwrap().taps.len(), 1);
    assert_eq!(again.status().await.unwrap().hosts, 1);
}

#[tokio::test]
async fn a_holder_that_dies_takes_its_programs_along_and_is_replaced() {
    let host = Host::new();
    for half in ["inner", "outer"] {
        let home = host.home();
        let network = home.network("n-1", Egress::Logged).await;
        let web = Machine::start(&network, "web-1", 11).await;
        network.hosts_set(vec![web.host()]).await.unwrap();
        let mut news = home.networks.watch();
        let mut watch = network.watch().await.unwrap();
        // Whoever watches all networks heard of this one.
        assert!(web.asks(&format!("{SEVEN}:443")).is_some());
        let first = tokio::time::timeout(Duration::from_secs(10), news.recv()).await.unwrap().unwrap();
        assert!(
            matches!(&first, (id, Notice::Egress(record)) if id == "n-1" && record.destination == SEVEN),
            "{first:?}"
        );
        let status = network.status().await.unwrap();
        let family = relatives(status.pid);
        assert!(family.iter().any(|(_, name)| name == "dnsmasq"), "{family:?}");
        // pasta calls itself after the processor it is made for.
        assert!(family.iter().any(|(_, name)| name.starts_with("pas")), "{family:?}");
        let same = family.iter().find(|(pid, _)| *pid == status.pid).unwrap();
        let outer = family.iter().find(|other| other.0 != same.0 && other.1 == same.1).unwrap().0;
        kill(if half == "inner" { status.pid } else { outer });

        let died = Notice::HolderDied { generation: network.generation().to_owned() };
        let last = loop {
            match watch.next().await {
                Some(Notice::Egress(_)) => {}
                other => break other,
            }
        };
        assert_eq!(last, Some(died.clone()));
        assert_eq!(watch.next().await, None);
        assert!(matches!(network.status().await, Err(Error::Holder { .. })));
        until("all its processes are gone", async || {
            family.iter().all(|(pid, name)| {
                let alive = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                !alive.contains(&format!("({name})")) || alive.contains(") Z ")
            })
        })
        .await;
        drop(web);

        let again = home.networks.ensure(&status.config).await.unwrap();
        assert_ne!(again.generation(), network.generation());
        // The names are kept; the taps are not.
        let fresh = again.status().await.unwrap();
        assert_eq!((fresh.hosts, fresh.taps.len()), (1, 0));
        let _web = Machine::start(&again, "web-1", 11).await;
        let told = async { while news.recv().await.unwrap() != ("n-1".to_owned(), died.clone()) {} };
        assert!(
            tokio::time::timeout(Duration::from_secs(10), told).await.is_ok(),
            "nobody told of the death"
        );
    }
}

#[tokio::test]
async fn dnsmasq_that_dies_is_started_again() {
    let home = Home::new();
    let network = home.network("n-1", Egress::None).await;
    let web = Machine::start(&network, "web-1", 11).await;
    network.hosts_set(vec![web.host()]).await.unwrap();
    let status = network.status().await.unwrap();
    let dnsmasq = relatives(status.pid).into_iter().find(|(_, name)| name == "dnsmasq").unwrap();
    kill(dnsmasq.0);
    let lookup = format!("dig +short +tries=1 +time=1 @{} web-1.hello.internal", status.config.gateway);
    until("names are back", async || {
        String::from_utf8(web.try_run(&lookup).stdout).unwrap().trim() == web.address.to_string()
    })
    .await;
}
