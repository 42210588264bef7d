//! Ten thousand machines, and a client that misbehaves: where something grows faster than it should, it shows here first.

use std::time::{Duration, Instant};

use hafen_base::{Error, Result};
use hafen_client::Client;
use hafen_client::wire::{List, Machine};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Context;
use crate::platform::{Platform, broken, megabytes};
use crate::report::{Figure, Part};

const MACHINES: u32 = 10_000;
/// The platform waits 10 s for a reader whose buffer is full.
const DEAF: Duration = Duration::from_secs(15);

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("large");
    let platform = Platform::start(context, "sim").await?;
    let client = platform.client()?;
    platform.resident_at_rest().await?;
    let empty = platform.resident_own()?;
    let file = platform.manifest("bench", MACHINES)?;
    let plan = platform.timed(&["plan", "-f", &file]).await?;
    let peak = platform.resident_peak()?;

    // Asks for every event and reads none: it must cost nobody anything, and be cut off.
    let mut deaf = deaf_reader(&platform).await?;
    let began = Instant::now();
    let apply = platform.timed(&["apply", "--yes", "-f", &file]).await?;
    // However fast that was: it is cut off when it has not read for so long.
    tokio::time::sleep(DEAF.saturating_sub(began.elapsed())).await;
    let cut_off = cut_off(&mut deaf).await?;

    let (small, large) = (pages(&client, 100).await?, pages(&client, 1000).await?);
    let mut again = Vec::new();
    for _ in 0..context.runs {
        again.push(platform.timed(&["plan", "-f", &file]).await?);
    }
    platform.resident_at_rest().await?;
    let full = platform.resident_own()?;
    let apply_peak = platform.resident_peak()?;
    let destroy = platform.timed(&["destroy", "--yes", "-f", &file]).await?;
    let per_machine = megabytes(full.saturating_sub(empty)) * 1000.0 / f64::from(MACHINES);
    part.fact("deaf_reader", if cut_off { "cut off" } else { "served to the end" });
    let figures = [
        Figure::seconds("plan_10000", "hafen plan: 10,000 machines to create", &[plan])
            .map(|figure| figure.at_most(3.0)),
        Figure::new("plan_peak", "hafen serve: most memory during that plan", "MB", &[megabytes(peak)]),
        Figure::seconds(
            "apply_10000",
            "hafen apply: 10,000 machines, beside a reader who does not read",
            &[apply],
        ),
        Figure::new(
            "apply_peak",
            "hafen serve: most memory during that apply",
            "MB",
            &[megabytes(apply_peak)],
        ),
        Figure::seconds("page_100", "machine list at 10,000: a page of 100", &small),
        Figure::seconds("page_1000", "machine list at 10,000: a page of 1,000", &large),
        Figure::seconds("plan_unchanged", "hafen plan: 10,000 machines, nothing to do", &again)
            .map(|figure| figure.at_most(3.0)),
        Figure::new(
            "machine_memory",
            "control plane: memory per machine at 10,000, at rest",
            "kB",
            &[per_machine],
        )
        .map(|figure| figure.at_most(50.0)),
        Figure::seconds("destroy_10000", "hafen destroy: 10,000 machines", &[destroy]),
    ];
    for figure in figures {
        part.figures.push(figure?);
    }
    Ok(part)
}

async fn deaf_reader(platform: &Platform) -> Result<tokio::net::TcpStream> {
    let address = platform.url.trim_start_matches("http://");
    let socket = tokio::net::TcpSocket::new_v4().map_err(broken("a socket"))?;
    // Small beside ten megabytes of events, so that the kernel does not listen in its place; not so small that what was sent
    // before the end trickles through for minutes.
    socket.set_recv_buffer_size(64 << 10).map_err(broken("a socket"))?;
    let address = address.parse().map_err(Error::internal)?;
    let mut stream = socket.connect(address).await.map_err(broken("a connection"))?;
    let request = format!(
        "GET /api/v1/events?after=0 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\r\n",
        platform.token
    );
    stream.write_all(request.as_bytes()).await.map_err(broken("a connection"))?;
    Ok(stream)
}

/// Whether the platform ended the stream before it had told of everything, as it should: a reader who does not read must
/// not make it keep ten thousand events for him.
async fn cut_off(stream: &mut tokio::net::TcpStream) -> Result<bool> {
    // What is on its way need not trickle through the small buffer.
    rustix::net::sockopt::set_socket_recv_buffer_size(&*stream, 4 << 20)
        .map_err(|error| Error::unavailable("a socket").with_cause(error))?;
    let (mut buffer, mut text) = (vec![0_u8; 64 << 10], String::new());
    let read = async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(count) => text.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default())),
            }
            // Published once all machines run: the last that happens.
            if text.contains("event: publication.ready") {
                return false;
            }
            let mut keep = text.len().saturating_sub(64);
            while !text.is_char_boundary(keep) {
                keep -= 1;
            }
            text.drain(..keep);
        }
    };
    let late = |_| Error::unavailable("the stream of the reader who did not read neither ends nor goes on");
    tokio::time::timeout(Duration::from_secs(120), read).await.map_err(late)
}

/// Reads the whole list; how long each page took.
async fn pages(client: &Client, limit: u32) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let (mut next, mut count) = (String::new(), 0);
    loop {
        let began = Instant::now();
        let path = format!("/api/v1/projects/bench/machines?limit={limit}{next}");
        let page: List<Machine> = client.get(&path).await?;
        took.push(began.elapsed());
        count += page.items.len();
        match page.next_page {
            Some(token) => next = format!("&page={token}"),
            None if count == MACHINES as usize => return Ok(took),
            None => return Err(Error::unavailable(format!("the list has {count} machines"))),
        }
    }
}
