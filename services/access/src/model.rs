//! Pure rules: names of machines as people write them, principals, key ids.

use hafen_base::Actor;
use serde::{Deserialize, Serialize};

/// The only port of a machine that the bastion leads to.
pub const PORT: u16 = 22;
/// The name that the bastion's host certificate has.
pub const BASTION: &str = "bastion.hafen";

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    /// Decimal: a serial is larger than what a column holds.
    pub serial: String,
    /// `bastion` or `machine`.
    pub place: String,
    /// Who it belongs to.
    pub actor: Actor,
    pub key_id: String,
    /// Projects whose machines it opens.
    pub projects: Vec<String>,
}

/// A machine of the inventory by its literal name: `web-1.hello.hafen` or `web-1.hello.internal`, in lower case, nothing
/// before or after. Other spellings are other names, and name nothing.
pub fn machine_of(host: &str) -> Option<(&str, &str)> {
    let name = host.strip_suffix(".hafen").or_else(|| host.strip_suffix(".internal"))?;
    let (machine, project) = name.split_once('.')?;
    let good = |label: &str| hafen_base::check_label("a name", label).is_ok();
    (good(machine) && good(project)).then_some((machine, project))
}

/// The user name at the bastion, and the principal of its certificate.
pub fn bastion_user(actor: &Actor) -> String {
    let id: String =
        actor.id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    format!("at-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_names() {
        assert_eq!(machine_of("web-1.hello.hafen"), Some(("web-1", "hello")));
        assert_eq!(machine_of("web-1.hello.internal"), Some(("web-1", "hello")));
        for bad in [
            "",
            "web-1",
            "web-1.hello",
            ".hafen",
            "..hafen",
            "web-1..hafen",
            ".hello.hafen",
            "web-1.hello.hafen.",
            "WEB-1.hello.hafen",
            "web-1.hello.HAFEN",
            "a.web-1.hello.hafen",
            "127.0.0.1",
            "web_1.hello.hafen",
            "web-1.hello.hafen\0",
            "web-1.hello/x.hafen",
            "-web.hello.hafen",
            "web-1.hello.example.org",
            "[::1]",
            "web-1/../db-1.hello.hafen",
            "web-1.hello.hafen.hafen",
        ] {
            assert_eq!(machine_of(bad), None, "{bad:?}");
        }
    }
}
