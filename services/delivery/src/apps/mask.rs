//! Finds values of secrets in a stream of bytes, wherever it is cut: to put stars in their place in the log of a build, and to
//! see whether something that is kept holds one.
//!
//! All values are looked for in one pass, by the automaton of Aho and Corasick. What may still become a value is held back, and
//! nothing else: who follows a log sees each line as it comes.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use hafen_base::{Error, Result};
use zeroize::Zeroizing;

/// A value of fewer bytes is looked for nowhere: it would be found everywhere.
pub const SHORTEST: usize = 8;
/// What stands in the place of a value.
const STARS: &[u8] = b"***";
/// A node that is none.
const NONE: u32 = u32::MAX;

/// Values to look for: a tree of their bytes, each node of which knows the longest beginning of a value that its own end is.
pub struct Values {
    nodes: Vec<Node>,
    /// The byte that leads to each node. Apart, to be wiped.
    bytes: Zeroizing<Vec<u8>>,
    /// Children of the root by their byte: most bytes of most streams begin nothing.
    begins: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Node {
    child: u32,
    sibling: u32,
    /// The node of the longest end of this that begins a value as well.
    fallback: u32,
    depth: u32,
    /// Length of the longest value that ends here; 0 for none.
    ends: u32,
    /// Which value that is.
    which: u32,
}

const ROOT: Node = Node { child: NONE, sibling: NONE, fallback: 0, depth: 0, ends: 0, which: 0 };

impl Values {
    /// For a log: each value, and each line of it, because programs print values line by line.
    pub fn for_log<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let parts = |(which, value): (u32, &'a [u8])| {
            let lines = value.split(|byte| *byte == b'\n').map(move |line| (which, line));
            std::iter::once((which, value)).chain(lines)
        };
        Self::of((0..).zip(values).flat_map(parts))
    }

    /// Each value as a whole.
    pub fn whole<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::of((0..).zip(values))
    }

    /// White space around a value is no part of it: who prints one leaves that out as often as not.
    fn of<'a>(values: impl IntoIterator<Item = (u32, &'a [u8])>) -> Self {
        let values: Vec<(u32, &[u8])> = values
            .into_iter()
            .map(|(which, value)| (which, value.trim_ascii()))
            .filter(|(_, value)| value.len() >= SHORTEST)
            .collect();
        // Never grown, which would leave copies behind.
        let most = values.iter().map(|(_, value)| value.len()).sum::<usize>() + 1;
        let mut nodes = Vec::with_capacity(most);
        let mut bytes = Zeroizing::new(Vec::<u8>::with_capacity(most));
        nodes.push(ROOT);
        bytes.push(0);
        let mut this = Self { nodes, bytes, begins: vec![NONE; 256] };
        for (which, value) in values {
            this.add(which, value);
        }
        this.link();
        this
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    fn node(&self, at: u32) -> Node {
        usize::try_from(at).ok().and_then(|at| self.nodes.get(at)).copied().unwrap_or(ROOT)
    }

    fn change(&mut self, at: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = usize::try_from(at).ok().and_then(|at| self.nodes.get_mut(at)) {
            change(node);
        }
    }

    fn byte(&self, at: u32) -> u8 {
        usize::try_from(at).ok().and_then(|at| self.bytes.get(at)).copied().unwrap_or(0)
    }

    fn child(&self, of: u32, byte: u8) -> Option<u32> {
        if of == 0 {
            return self.begins.get(usize::from(byte)).copied().filter(|child| *child != NONE);
        }
        let mut child = self.node(of).child;
        while child != NONE {
            if self.byte(child) == byte {
                return Some(child);
            }
            child = self.node(child).sibling;
        }
        None
    }

    fn add(&mut self, which: u32, value: &[u8]) {
        let mut at = 0;
        for &byte in value {
            at = match self.child(at, byte) {
                Some(child) => child,
                None => self.grow(at, byte),
            };
        }
        self.change(at, |node| (node.ends, node.which) = (node.depth, which));
    }

    fn grow(&mut self, of: u32, byte: u8) -> u32 {
        // Secrets of a build are bounded far below that.
        let Ok(new) = u32::try_from(self.nodes.len()) else { return of };
        let parent = self.node(of);
        self.nodes.push(Node { sibling: parent.child, depth: parent.depth + 1, ..ROOT });
        self.bytes.push(byte);
        self.change(of, |node| node.child = new);
        if of == 0
            && let Some(begin) = self.begins.get_mut(usize::from(byte))
        {
            *begin = new;
        }
        new
    }

    /// The nodes near the root first: what a node falls back to is nearer.
    fn link(&mut self) {
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            let mut child = self.node(at).child;
            while child != NONE {
                let fallback = if at == 0 { 0 } else { self.step(self.node(at).fallback, self.byte(child)) };
                let behind = self.node(fallback);
                self.change(child, |node| {
                    node.fallback = fallback;
                    if node.ends == 0 {
                        (node.ends, node.which) = (behind.ends, behind.which);
                    }
                });
                queue.push_back(child);
                child = self.node(child).sibling;
            }
        }
    }

    /// The node after one more byte.
    fn step(&self, mut at: u32, byte: u8) -> u32 {
        loop {
            if let Some(child) = self.child(at, byte) {
                return child;
            }
            if at == 0 {
                return 0;
            }
            at = self.node(at).fallback;
        }
    }

    /// The first value that a stream holds, by its place among those given.
    ///
    /// # Errors
    /// Internal when it cannot be read.
    pub fn search(&self, mut stream: impl Read) -> Result<Option<usize>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut buffer = vec![0_u8; 256 << 10];
        let mut at = 0;
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::internal(error)),
            };
            for &byte in buffer.get(..count).unwrap_or_default() {
                at = self.step(at, byte);
                let node = self.node(at);
                if node.ends > 0 {
                    return Ok(usize::try_from(node.which).ok());
                }
            }
        }
    }
}

/// Puts stars in the place of values, piece by piece. How a stream is cut changes nothing of what comes out.
pub struct Mask {
    values: Arc<Values>,
    at: u32,
    /// What is held back, and the place of its first byte in the stream.
    held: Zeroizing<Vec<u8>>,
    base: usize,
    /// Values found in what is held back, from and to; in order, none over another.
    found: VecDeque<(usize, usize)>,
    /// Everything before this is said, or has stars in its place.
    hidden: usize,
}

impl Mask {
    pub fn new(values: Arc<Values>) -> Self {
        Self { values, at: 0, held: Zeroizing::default(), base: 0, found: VecDeque::new(), hidden: 0 }
    }

    /// Takes a piece; gives what can be said now.
    pub fn take(&mut self, piece: &[u8]) -> Vec<u8> {
        for &byte in piece {
            self.held.push(byte);
            self.at = self.values.step(self.at, byte);
            let node = self.values.node(self.at);
            if node.ends > 0 {
                self.find(size(node.ends));
            }
        }
        self.say(size(self.values.node(self.at).depth))
    }

    /// The rest, at the end of the stream. What could have become a value may be nearly all of one.
    pub fn end(&mut self) -> Vec<u8> {
        let begun = size(self.values.node(self.at).depth);
        if begun >= SHORTEST {
            self.find(begun);
        }
        self.at = 0;
        self.say(0)
    }

    /// The last bytes, so many, are a value.
    fn find(&mut self, length: usize) {
        let end = self.base + self.held.len();
        let mut start = end.saturating_sub(length);
        // One over another is one.
        while let Some((from, _)) = self.found.back().copied().filter(|(_, to)| start < *to) {
            start = start.min(from);
            self.found.pop_back();
        }
        self.found.push_back((start, end));
    }

    /// Says all but so many of the last bytes.
    fn say(&mut self, keep: usize) -> Vec<u8> {
        let mut said = Vec::with_capacity(self.held.len());
        let until = self.base + self.held.len().saturating_sub(keep);
        loop {
            let next = self.found.front().copied().filter(|(from, _)| *from < until);
            let plain = self.base.max(self.hidden)..next.map_or(until, |(from, _)| from);
            let plain = plain.start.saturating_sub(self.base)..plain.end.saturating_sub(self.base);
            said.extend_from_slice(self.held.get(plain).unwrap_or_default());
            let Some((from, to)) = next else { break };
            // Else it goes on from one that has its stars.
            if from >= self.hidden {
                said.extend_from_slice(STARS);
            }
            self.hidden = self.hidden.max(to);
            self.found.pop_front();
        }
        self.held.drain(..until - self.base);
        self.base = until;
        said
    }
}

fn size(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(values: &[&str], pieces: &[&str]) -> String {
        let values = Values::for_log(values.iter().map(|value| value.as_bytes()));
        let mut mask = Mask::new(Arc::new(values));
        let mut said = Vec::new();
        for piece in pieces {
            said.extend(mask.take(piece.as_bytes()));
        }
        said.extend(mask.end());
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn values_are_stars_wherever_a_stream_is_cut() {
        let table: &[(&[&str], &str, &str)] = &[
            (&["correct-horse"], "token correct-horse!", "token ***!"),
            (&["correct-horse"], "correct-horscorrect-horse", "correct-hors***"),
            (&["correct-horse"], "correct-hors e", "correct-hors e"),
            (&["correct-horse"], "correct-horsecorrect-horse", "******"),
            // One within another, one over another, one that begins as another.
            (&["correct-horse", "ect-hors"], "a correct-horse b ect-hors c", "a *** b *** c"),
            (&["abcdefgh", "ghijklmno"], "abcdefghijklmno abcdefghij", "*** ***ij"),
            (&["abcdefgh", "abcdefghijkl"], "abcdefghij abcdefghijkl", "***ij ***"),
            (&["aaaaaaaa"], "baaaaaaaaaaaab", "b***b"),
            // White space around it is none of it, and each line is one.
            (&["\n correct-horse\n"], "x correct-horse\n\n", "x ***\n\n"),
            (
                &["-----BEGIN KEY\nMC4CAQAw\nx\n"],
                "MC4CAQAw\r\nx -----BEGIN KEY\nMC4CAQAw\nx.",
                "***\r\nx ***.",
            ),
            // Too short to be told from anything else.
            (&["secret7"], "secret7", "secret7"),
            (&["short", ""], "short and all else", "short and all else"),
            // The end of the stream cuts it.
            (&["correct-horse"], "correct-h", "***"),
            (&["correct-horse"], "say correct", "say correct"),
        ];
        for (values, text, expected) in table {
            assert_eq!(masked(values, &[text]), *expected, "{text:?}");
            for cut in 0..=text.len() {
                let pieces = [&text[..cut], &text[cut..]];
                assert_eq!(masked(values, &pieces), *expected, "{pieces:?}");
            }
            let each: Vec<&str> = text.split("").collect();
            assert_eq!(masked(values, &each), *expected, "{each:?}");
        }
    }

    #[test]
    fn a_line_is_said_as_it_comes() {
        let values = Arc::new(Values::for_log([&b"correct-horse"[..]]));
        let mut mask = Mask::new(values);
        assert_eq!(mask.take(b"compiling\nc"), b"compiling\n");
        assert_eq!(mask.take(b"ompiling\n"), b"compiling\n");
        assert_eq!(mask.take(b"with correct-hor"), b"with ");
        assert_eq!(mask.take(b"se\n"), b"***\n");
        assert_eq!(mask.take(b""), b"");
        assert_eq!(mask.end(), b"");
    }

    #[test]
    fn what_is_kept_is_searched() {
        let values: [&[u8]; 4] = [b"short", b"correct-horse\n", b"two lines\nof it", b"\0binary\xff\xfe"];
        let searched = Values::whole(values);
        let find = |text: &[u8]| searched.search(text).unwrap();
        assert_eq!(find(b"short, correct-hors, two lines"), None);
        assert_eq!(find(b"x correct-horse y"), Some(1));
        assert_eq!(find(b"two lines\nof it"), Some(2));
        assert_eq!(find(b"..\0binary\xff\xfe.."), Some(3));
        // Over the end of a buffer.
        for before in (256 << 10) - 14..(256 << 10) + 2 {
            let mut long = vec![b'c'; before];
            long.extend_from_slice(b"correct-horse");
            assert_eq!(find(&long), Some(1), "{before}");
        }
        assert_eq!(Values::whole([&b"tiny"[..]]).search(&b"tiny"[..]).unwrap(), None);
    }

    /// As one would do it by hand: every place of every value is covered, and a run of what is over one another is one.
    fn slow(values: &[String], text: &str) -> String {
        let mut covered: Vec<(usize, usize)> = Vec::new();
        for value in values.iter().filter(|value| value.len() >= SHORTEST) {
            for from in 0..text.len() {
                if text[from..].starts_with(value.as_str()) {
                    covered.push((from, from + value.len()));
                }
            }
        }
        covered.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (from, to) in covered {
            match merged.last_mut() {
                Some(last) if from < last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        let (mut said, mut at) = (String::new(), 0);
        for (from, to) in merged {
            said.push_str(&text[at..from]);
            said.push_str("***");
            at = to;
        }
        said.push_str(&text[at..]);
        said
    }

    proptest! {
        #[test]
        fn as_by_hand(
            values in prop::collection::vec("[ab]{6,12}", 1..4),
            text in "[abc]{0,80}",
            cuts in prop::collection::vec(0_usize..80, 0..6),
        ) {
            // A byte that begins nothing ends it, so that nothing is held back there.
            let text = format!("{text}.");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let given: Vec<&str> = values.iter().map(String::as_str).collect();
            prop_assert_eq!(masked(&given, &pieces), slow(&values, &text));
        }
    }
}
