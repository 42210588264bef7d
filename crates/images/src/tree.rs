//! What is in a root file system, a line per path: by it, a rebuild that differs says where.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::{Error, Result, durable};

const MAX_LISTING: u64 = 256 << 20;
/// Path, type, mode, user, group, size, time, links, target.
const FIELDS: usize = 9;

/// Makes the text from what `find` and `sha256sum` printed. Blocks.
pub(crate) fn read(listing: &Path, sums: &Path) -> Result<String> {
    let text = |path: &Path| Ok::<_, Error>(durable::read(path, MAX_LISTING)?.unwrap_or_default());
    let (listing, sums) = (text(listing)?, text(sums)?);
    let sums: BTreeMap<&[u8], &[u8]> =
        sums.split(|byte| *byte == 0).filter_map(|line| Some((line.get(66..)?, line.get(..64)?))).collect();
    let fields: Vec<&[u8]> = listing.split(|byte| *byte == 0).collect();
    let mut lines = Vec::new();
    for file in fields.chunks_exact(FIELDS) {
        let [path, kind, mode, user, group, size, time, links, target] = file else { continue };
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let mut line = format!(
            "/{} type={} mode={} user={} group={} time={}",
            show(path).replace(' ', "\\x20"),
            show(kind),
            show(mode),
            show(user),
            show(group),
            show(time)
        );
        if *kind == b"f" {
            let hash = sums.get(path).copied().unwrap_or_default();
            let _ = write!(line, " size={} links={} sha256={}", show(size), show(links), show(hash));
        }
        if *kind == b"l" {
            let _ = write!(line, " target={}", show(target).replace(' ', "\\x20"));
        }
        lines.push(line);
    }
    lines.sort();
    Ok(lines.into_iter().fold(String::new(), |text, line| text + &line + "\n"))
}

/// The first path that is not the same in both, and how it differs.
pub(crate) fn first_difference(stored: &str, rebuilt: &str) -> Option<(String, String)> {
    fn by_path(text: &str) -> BTreeMap<&str, &str> {
        text.lines().filter_map(|line| line.split_once(' ')).collect()
    }
    let (stored, rebuilt) = (by_path(stored), by_path(rebuilt));
    stored.keys().chain(rebuilt.keys()).collect::<std::collections::BTreeSet<_>>().into_iter().find_map(
        |path| {
            let detail = match (stored.get(path), rebuilt.get(path)) {
                (Some(a), Some(b)) if a == b => return None,
                (Some(a), Some(b)) => {
                    let pairs = a.split(' ').zip(b.split(' ')).filter(|(a, b)| a != b);
                    pairs.map(|(a, b)| format!("{a} is {b} in the rebuild")).collect::<Vec<_>>().join(", ")
                }
                (Some(_), None) => "the rebuild does not have it".to_owned(),
                _ => "only the rebuild has it".to_owned(),
            };
            Some(((*path).to_owned(), detail))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read_and_compared() {
        let dir = tempfile::tempdir().unwrap();
        let (listing, sums) = (dir.path().join("listing"), dir.path().join("sums"));
        let hash = "a".repeat(64);
        std::fs::write(
            &listing,
            "b c\0f\x00644\x000\x000\x005\x001\x001\0\0a\0l\x00777\x000\x000\x001\x001\x001\0b c\0",
        )
        .unwrap();
        std::fs::write(&sums, format!("{hash}  b c\0")).unwrap();
        let tree = read(&listing, &sums).unwrap();
        let wanted = format!(
            "/a type=l mode=777 user=0 group=0 time=1 target=b\\x20c\n\
             /b\\x20c type=f mode=644 user=0 group=0 time=1 size=5 links=1 sha256={hash}\n"
        );
        assert_eq!(tree, wanted);
        assert_eq!(first_difference(&tree, &tree), None);
        let other = tree.replace("mode=644", "mode=600");
        let (path, detail) = first_difference(&tree, &other).unwrap();
        assert_eq!((path.as_str(), detail.as_str()), ("/b\\x20c", "mode=644 is mode=600 in the rebuild"));
        let (path, detail) = first_difference(&tree, tree.lines().nth(1).unwrap()).unwrap();
        assert_eq!((path.as_str(), detail.as_str()), ("/a", "the rebuild does not have it"));
    }
}
