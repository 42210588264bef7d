//! Looks at the new objects of a push: how large the largest is, and whether they hold secrets.

use std::collections::VecDeque;
use std::process::Stdio;

use hafen_base::{Error, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::gate::Proposed;
use crate::object;
use crate::process::Process;
use crate::secrets::{self, Finding};

/// How closely.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one object; larger ones are told.
    pub object: u64,
    /// Objects above this are not searched for secrets: they are no text that somebody wrote.
    pub searched: u64,
    /// Findings that are told.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { object: 1 << 30, searched: 8 << 20, findings: 10 }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Objects looked at.
    pub objects: u64,
    /// The first that is too large: its path, and its bytes.
    pub too_large: Option<(String, u64)>,
    /// Secrets: the file (or "the message of commit …"), and where in it.
    pub secrets: Vec<(String, Finding)>,
    /// Those that the text says are meant to be there.
    pub allowed: Vec<(String, Finding)>,
}

/// An object whose contents are to be searched.
struct Wanted {
    name: String,
    place: String,
}

/// Names of objects that are asked for and not yet answered: the pipe between holds them.
const AHEAD: usize = 64;
/// Searched without leaving the thread.
const SMALL: usize = 64 << 10;

pub(crate) async fn inspect(push: &Proposed, limits: &Limits) -> Result<Inspection> {
    let mut seen = Inspection::default();
    let tips: String = push
        .updates
        .iter()
        .filter_map(|update| update.new.clone())
        .fold(String::new(), |text, tip| text + &tip + "\n");
    if tips.is_empty() {
        return Ok(seen);
    }
    // What no reference leads to yet, each with the first path it stands at; then its kind and size.
    let mut list = push.command();
    list.args(["rev-list", "--objects", "--stdin", "--not", "--all"]).stdin(Stdio::piped());
    let mut list = Process::spawn(&mut list)?;
    let mut sizes = push.command();
    let listed = list.0.stdout.take().ok_or_else(|| Error::internal("no pipe"))?;
    sizes
        .args(["cat-file", "--buffer", "--batch-check=%(objectname) %(objecttype) %(objectsize) %(rest)"])
        .stdin(Stdio::from(listed.into_owned_fd().map_err(Error::internal)?));
    let mut sizes = Process::spawn(&mut sizes)?;
    let mut contents = push.command();
    contents.args(["cat-file", "--batch"]).stdin(Stdio::piped());
    let mut contents = Process::spawn(&mut contents)?;

    let mut told = list.0.stdin.take().ok_or_else(|| Error::internal("no pipe"))?;
    let mut ask = contents.0.stdin.take().ok_or_else(|| Error::internal("no pipe"))?;
    let sized = sizes.0.stdout.take().ok_or_else(|| Error::internal("no pipe"))?;
    let answers = contents.0.stdout.take().ok_or_else(|| Error::internal("no pipe"))?;
    let tell = async {
        // `--not --all` above stands for itself: what comes by stdin is wanted.
        let said = told.write_all(tips.as_bytes()).await;
        drop(told);
        said.map_err(Error::internal)
    };
    let look = async {
        let mut sized = BufReader::new(sized).split(b'\n');
        let mut answers = BufReader::with_capacity(64 << 10, answers);
        let mut asked: VecDeque<Wanted> = VecDeque::new();
        while let Some(line) = sized.next_segment().await.map_err(Error::internal)? {
            let line = String::from_utf8_lossy(&line);
            let mut parts = line.splitn(4, ' ');
            let (Some(name), Some(kind), Some(size)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(Error::internal(format!("cat-file said {line:?}")));
            };
            let (Some(name), Ok(size)) = (object(name), size.parse::<u64>()) else {
                return Err(Error::internal(format!("cat-file said {line:?}")));
            };
            seen.objects += 1;
            let place = match kind {
                "blob" => parts.next().unwrap_or_default().to_owned(),
                "commit" => format!("the message of commit {}", name.get(..12).unwrap_or(&name)),
                "tag" => "the message of a tag".to_owned(),
                _ => continue,
            };
            if size > limits.object {
                seen.too_large.get_or_insert((place, size));
                continue;
            }
            if size > limits.searched || seen.secrets.len() >= limits.findings {
                continue;
            }
            ask.write_all(format!("{name}\n").as_bytes()).await.map_err(Error::internal)?;
            asked.push_back(Wanted { name, place });
            if asked.len() >= AHEAD {
                answer(&mut answers, &mut asked, limits, &mut seen).await?;
            }
        }
        drop(ask);
        while !asked.is_empty() {
            answer(&mut answers, &mut asked, limits, &mut seen).await?;
        }
        Ok::<_, Error>(())
    };
    let (said, looked) = tokio::join!(tell, look);
    said?;
    looked?;
    for process in [&mut list, &mut sizes, &mut contents] {
        let status = process.0.wait().await.map_err(Error::internal)?;
        if !status.success() {
            return Err(Error::unavailable("the new objects could not be read"));
        }
    }
    Ok(seen)
}

/// Reads the next answer of `cat-file --batch` and searches it.
async fn answer(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    asked: &mut VecDeque<Wanted>,
    limits: &Limits,
    seen: &mut Inspection,
) -> Result<()> {
    let Some(wanted) = asked.pop_front() else { return Ok(()) };
    let mut head = String::new();
    from.read_line(&mut head).await.map_err(Error::internal)?;
    let size = head.trim_end().rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
    let (Some(size), true) = (size, head.starts_with(&wanted.name)) else {
        return Err(Error::internal(format!("cat-file said {head:?}")));
    };
    // And the end of line after it.
    let mut text = vec![0; size + 1];
    from.read_exact(&mut text).await.map_err(Error::internal)?;
    let most = limits.findings;
    let found = if size <= SMALL {
        secrets::find(&text, most)
    } else {
        tokio::task::spawn_blocking(move || secrets::find(&text, most)).await.map_err(Error::internal)?
    };
    for finding in found {
        let list = if finding.allowed { &mut seen.allowed } else { &mut seen.secrets };
        if list.len() < most {
            list.push((wanted.place.clone(), finding));
        }
    }
    Ok(())
}
