//! The actions of the platform: what each endpoint is an act of, and which group of the policy it belongs to.

/// One action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// As `machine.create`; what a token's scope names.
    pub name: &'static str,
    /// The group of the policy.
    pub group: &'static str,
    /// Cannot be undone: a person proves the second factor again.
    pub dangerous: bool,
    /// For a person: "may …".
    pub tells: &'static str,
}

const fn action(name: &'static str, group: &'static str, tells: &'static str) -> Action {
    Action { name, group, dangerous: false, tells }
}

const fn danger(name: &'static str, group: &'static str, tells: &'static str) -> Action {
    Action { name, group, dangerous: true, tells }
}

/// Groups of the policy, from the least right to the most.
pub const GROUPS: &[&str] = &["self", "read", "audit", "deploy", "operate", "maintain", "own"];

/// Every action there is.
pub const ACTIONS: &[Action] = &[
    action("platform.read", "read", "see how the platform is and its API document"),
    action("project.read", "read", "see projects and their quotas"),
    action("project.write", "maintain", "make projects and set their quotas"),
    danger("project.delete", "own", "end projects"),
    action("network.read", "read", "see networks"),
    action("network.write", "maintain", "make networks and change their egress"),
    action("network.delete", "maintain", "end networks"),
    action("image.read", "read", "see images"),
    action("image.write", "operate", "build and verify images"),
    action("image.delete", "maintain", "end images"),
    action("image.gc", "own", "free what no image uses"),
    action("machine.read", "read", "see machines and their serial logs"),
    action("machine.write", "operate", "make and change machines"),
    action("machine.run", "deploy", "start, stop and restart machines"),
    action("machine.rebuild", "operate", "give machines a fresh disk, or restore an old one"),
    action("machine.delete", "maintain", "delete machines"),
    action("machine.reach", "operate", "connect to any port and to the console of machines"),
    action("machine.ssh", "deploy", "log in to machines by SSH, through the bastion"),
    action("snapshot.read", "read", "see snapshots"),
    action("snapshot.write", "operate", "take and delete snapshots"),
    action("publication.read", "read", "see what is published"),
    action("publication.write", "maintain", "publish ports on the host"),
    action("route.read", "read", "see what hosts lead to"),
    action("route.write", "maintain", "say what hosts lead to, and take hosts back"),
    action("backend.read", "read", "see what answers requests, and how it is"),
    action("backend.write", "operate", "say what answers requests"),
    action("certificate.read", "read", "see the certificates of hosts"),
    action("certificate.renew", "operate", "have certificates renewed at once"),
    action("operation.read", "read", "see operations"),
    action("operation.cancel", "deploy", "cancel operations"),
    action("event.read", "read", "see what happens"),
    action("stack.read", "read", "see plans, applies and drift"),
    action("stack.plan", "read", "make plans"),
    action("stack.apply", "deploy", "apply plans, and cancel applies"),
    action("ledger.read", "audit", "read and verify the ledger"),
    danger("ledger.erase", "own", "erase a person from the ledger"),
    action("access.read", "audit", "see sessions and alerts of SSH"),
    action("access.connect", "operate", "get SSH certificates that work without the bastion"),
    action("access.revoke", "maintain", "end SSH sessions and certificates"),
    action("access.check", "operate", "have the ways into machines checked"),
    action("access.accept", "maintain", "accept what changed in the ways into machines"),
    action("account.self", "self", "see and change one's own account"),
    action("people.read", "read", "see who belongs"),
    danger("people.write", "own", "invite, change and remove people"),
    action("team.write", "maintain", "make and change teams and who belongs"),
    action("token.write", "maintain", "make and end tokens of service accounts"),
    action("policy.read", "audit", "ask which rule decides"),
    danger("organisation.write", "own", "change the organisation"),
];

/// The action of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// Whether a word covers an action: `machine.write` itself, `machine.*`, a group of the policy, as `read`, or `*`. Scopes of tokens
/// and the permissions of an organisation's own roles are such words.
#[must_use]
pub fn covers(word: &str, action: &str) -> bool {
    word == action
        || word == "*"
        || word.strip_suffix(".*").is_some_and(|noun| action.split('.').next() == Some(noun))
        || find(action).is_some_and(|known| known.group == word)
}

/// The actions that these words cover.
pub fn covered(words: &[String]) -> impl Iterator<Item = &'static Action> {
    ACTIONS.iter().filter(|action| words.iter().any(|word| covers(word, action.name)))
}

/// Those of these words that cover no action there is.
#[must_use]
pub fn unknown(words: &[String]) -> Vec<&str> {
    let empty = |word: &&str| !ACTIONS.iter().any(|action| covers(word, action.name));
    words.iter().map(String::as_str).filter(empty).collect()
}
