//! Calls that are believed and ask for nothing: why, in a word for programs and in a sentence for people.

use hafen_client::wire::HookIgnored;

use super::Asks;

/// A call that nothing comes of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nothing {
    pub why: HookIgnored,
    /// What it was of: a branch, an event, a build. In the caller's words, in one short line; empty where `why` says all.
    pub about: String,
    /// The same for each repeat. Never a key of a call that was acted on: what asked for nothing keeps nothing from acting.
    pub key: String,
}

impl Nothing {
    pub fn new(why: HookIgnored, about: impl Into<String>, key: &str) -> Self {
        Self { why, about: about.into(), key: format!("nothing:{key}") }
    }

    pub fn sentence(&self) -> String {
        let about = &self.about;
        match self.why {
            HookIgnored::Ping => "a ping, by which the hook is tried".into(),
            HookIgnored::OtherEvent => format!("events of kind {about:?} are not what this hook is for"),
            HookIgnored::OtherBranch => format!("branch {about:?} is not the one this hook is for"),
            HookIgnored::NoBranch => format!("{about:?} is no branch"),
            HookIgnored::BranchDeleted => format!("branch {about:?} was deleted"),
            HookIgnored::OtherPipeline => format!("a pipeline of a tag or a merge request ({about})"),
            HookIgnored::OtherJob => format!("job {about:?} is not the one this hook is for"),
            HookIgnored::Unfinished => format!("a build that is not at its end ({about})"),
            HookIgnored::Failed => format!("a build that failed ({about})"),
            HookIgnored::OlderBuild => format!("older than the build that was deployed last ({about})"),
            HookIgnored::Unnamed => "it names no branch or build by a name that is taken here".into(),
        }
    }
}

impl From<Nothing> for Asks {
    fn from(nothing: Nothing) -> Self {
        Self::Nothing(nothing)
    }
}

/// What others wrote, for a person to read: one short line, and nothing in it that turns the text around it.
pub(super) fn brief(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().filter(|c| !hidden(*c)).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_one_short_line() {
        for (text, expected) in [
            ("topic", "topic".to_owned()),
            ("a\nb\u{0}\u{1b}[2J", "ab[2J".to_owned()),
            ("x\u{202e}niam\u{2066}\u{feff}", "xniam".to_owned()),
            (&"ä".repeat(1000), "ä".repeat(80)),
        ] {
            assert_eq!(brief(text), expected);
        }
        let nothing = Nothing::new(HookIgnored::OtherBranch, brief("a \"quoted\" one"), "id:1");
        assert_eq!(nothing.sentence(), r#"branch "a \"quoted\" one" is not the one this hook is for"#);
    }
}
