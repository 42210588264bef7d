//! The check of what a request presents. It stands before every request of the platform, so it is a look into memory; see
//! the crate's essay for why that is safe.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use hafen_base::{Actor, ActorKind, Error, ErrorKind, OrganisationId, Result, Timestamp};
use hafen_client::wire::CustomRole;
use serde_json::json;

use crate::Identity;
use crate::model::caller::{Caller, Presented};
use crate::model::role::{OWNER, Owner, Scope};
use crate::model::secret::{Hash, Kind, recognise};
use crate::standing::Holdings;
use crate::store::credential::{self, CredentialRow};
use crate::store::{membership, person, project, service_account};

/// How long an entry is good without a look at the database: what a replica may not have heard of another.
const FRESH: Duration = Duration::from_secs(1);
/// A use is written down when it is this much later than the one before.
const USE_EVERY: Duration = Duration::from_mins(1);
/// How often another replica's first owner is looked for.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Bounds memory; a full cache starts anew.
const MOST: usize = 20_000;

/// What was seen lately.
#[derive(Default)]
pub struct Cache {
    /// Raised by every change of what somebody may do.
    generation: AtomicU64,
    entries: RwLock<HashMap<Hash, Arc<Entry>>>,
    owners: RwLock<HashMap<String, Owned>>,
    pub(crate) holdings: Kept<Holdings>,
    pub(crate) roles: Kept<Vec<CustomRole>>,
    /// When, and as of which generation, the platform was seen without an owner.
    unowned: Mutex<Option<(u64, Timestamp)>>,
    /// Uses that wait to be written: credential to when.
    uses: Mutex<HashMap<String, Timestamp>>,
}

/// What was read of organisations: as of which generation, when, and what.
pub struct Kept<T>(RwLock<HashMap<OrganisationId, AsOf<T>>>);

/// As of which generation and when it was read, and what.
type AsOf<T> = (u64, Timestamp, Arc<T>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Kept<T> {
    /// What is known, if that is good still; else what `read` gives.
    pub async fn get(
        &self,
        cache: &Cache,
        organisation: OrganisationId,
        now: Timestamp,
        read: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        let generation = cache.generation();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&organisation).cloned();
        if let Some((at, loaded, found)) = known
            && at == generation
            && now.since(loaded) < FRESH
        {
            return Ok(found);
        }
        let found = Arc::new(read.await?);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(organisation, (generation, now, Arc::clone(&found)));
        Ok(found)
    }
}

/// Who owns a project: as of which generation, read when, and what was found.
type Owned = (u64, Timestamp, Option<Owner>);

struct Entry {
    generation: u64,
    loaded_at: Timestamp,
    row: CredentialRow,
    caller: Caller,
    used: AtomicI64,
}

impl Cache {
    /// Nothing remembered counts any more.
    pub fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn entry(&self, hash: &Hash, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()?;
        let good = entry.generation == self.generation() && now.since(entry.loaded_at) < FRESH;
        good.then_some(entry)
    }

    fn insert(&self, hash: Hash, entry: Arc<Entry>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.insert(hash, entry);
    }

    /// Uses that wait to be written.
    pub fn uses(&self) -> Vec<String> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub fn use_of(&self, id: &str) -> Option<Timestamp> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    pub fn use_written(&self, id: &str, at: Timestamp) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.get(id) == Some(&at) {
            uses.remove(id);
        }
    }

    fn used(&self, entry: &Entry, now: Timestamp) {
        let before = entry.used.load(Ordering::Relaxed);
        if now.since(Timestamp::from_micros(before)) < USE_EVERY {
            return;
        }
        entry.used.store(now.micros(), Ordering::Relaxed);
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.row.id.clone(), now);
    }
}

/// Why a credential is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Somebody presents it: it is in use.
    Presented,
    /// Something that began with it goes on: that alone is no use of it.
    Again,
    /// The platform itself tries it.
    Tried,
}

fn refused(code: &'static str, message: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message).with_code(code)
}

impl Identity {
    /// Who presents this.
    ///
    /// # Errors
    /// Unauthenticated, with a code that says why where the credential is one of ours.
    pub async fn authenticate(&self, presented: Presented<'_>) -> Result<Caller> {
        self.look(presented, Look::Presented).await
    }

    /// Who presented this before, while what they began goes on; a session is no longer in use by it.
    ///
    /// # Errors
    /// As above, when it opens nothing any more.
    pub async fn still(&self, presented: Presented<'_>) -> Result<Caller> {
        self.look(presented, Look::Again).await
    }

    async fn look(&self, presented: Presented<'_>, look: Look) -> Result<Caller> {
        match presented {
            Presented::Bearer(text) => self.check_bearer(text, Kind::opens_the_api, look).await,
            Presented::Session(text) => self.check_bearer(text, |kind| kind == Kind::Session, look).await,
            Presented::LocalPeer { uid } if self.0.local_operator == Some(uid) => {
                Ok(self.local_operator(uid))
            }
            Presented::LocalPeer { .. } => {
                Err(refused("not_the_operator", "this user does not own the platform's home"))
            }
        }
    }

    pub(crate) fn local_operator(&self, uid: u32) -> Caller {
        let now = self.0.now();
        Caller {
            actor: Actor {
                kind: ActorKind::LocalOperator,
                id: format!("uid-{uid}"),
                name: "local operator".into(),
                organisation: self.0.default.to_string(),
                credential: "socket".into(),
                ..Actor::platform()
            },
            organisation: self.0.default,
            memberships: vec![(Scope::Organisation(self.0.default), OWNER.into())],
            scopes: None,
            projects: None,
            strong: true,
            authenticated_at: now,
            step_up_until: None,
            platform: true,
        }
    }

    async fn check_bearer(&self, text: &str, good: fn(Kind) -> bool, look: Look) -> Result<Caller> {
        // Told apart before the database is asked: a scan with random texts costs nothing.
        if !recognise(text).is_some_and(good) {
            return Err(refused(
                "unauthenticated",
                "send a token of this platform as `Authorization: Bearer …`, or sign in",
            ));
        }
        self.check_hash(&Hash::of(text), look).await
    }

    pub(crate) async fn check_hash(&self, hash: &Hash, look: Look) -> Result<Caller> {
        let now = self.0.now();
        let told = look == Look::Presented;
        let cached = if look == Look::Tried { None } else { self.0.cache.entry(hash, now) };
        let entry = match cached {
            Some(entry) => entry,
            None => match self.load(hash, now).await? {
                Ok(entry) => {
                    let entry = Arc::new(entry);
                    self.0.cache.insert(hash.clone(), Arc::clone(&entry));
                    entry
                }
                Err(row) => return Err(self.refuse(row, now, told).await?),
            },
        };
        let mut row_now = None;
        let used = Timestamp::from_micros(entry.used.load(Ordering::Relaxed));
        if entry.row.last_used_at != Some(used) && used.micros() != 0 {
            row_now = Some(CredentialRow { last_used_at: Some(used), ..entry.row.clone() });
        }
        if !row_now.as_ref().unwrap_or(&entry.row).opens(now) {
            return Err(self.refuse(Some(entry.row.clone()), now, told).await?);
        }
        if told {
            self.0.cache.used(&entry, now);
        }
        Ok(entry.caller.clone())
    }

    /// Reads a credential that opens; otherwise what there is of it.
    async fn load(&self, hash: &Hash, now: Timestamp) -> Result<Result<Entry, Option<CredentialRow>>> {
        // Before the read: a change in between makes the entry stale at once.
        let generation = self.0.cache.generation();
        let db = self.0.db.reader();
        let Some(mut row) = credential::by_hash(db, hash).await? else { return Ok(Err(None)) };
        // A use that is not written yet counts: the idle time of a session in use must not end it.
        if let Some(used) = self.0.cache.use_of(&row.id) {
            row.last_used_at = row.last_used_at.max(Some(used));
        }
        if !row.opens(now) {
            return Ok(Err(Some(row)));
        }
        let Some((kind, name)) = self.subject(&row).await? else { return Ok(Err(Some(row))) };
        let session = row.kind == Kind::Session;
        let memberships = membership::of(db, &row.subject).await?;
        let unlimited = row.scopes.is_none() && row.projects.is_none();
        let platform = unlimited && self.owns_the_platform(row.organisation, &memberships);
        let caller = Caller {
            actor: Actor {
                kind,
                id: row.subject.clone(),
                name,
                organisation: row.organisation.to_string(),
                credential: format!("{}/{}", if session { "session" } else { "token" }, row.id),
                ..Actor::platform()
            },
            organisation: row.organisation,
            memberships,
            scopes: row.scopes.clone(),
            projects: row.projects.clone(),
            strong: row.strong,
            authenticated_at: row.authenticated_at,
            step_up_until: row.step_up_until,
            platform,
        };
        let used = AtomicI64::new(row.last_used_at.map_or(0, Timestamp::micros));
        Ok(Ok(Entry { generation, loaded_at: now, row, caller, used }))
    }

    pub(crate) fn owns_the_platform(
        &self,
        organisation: OrganisationId,
        memberships: &[(Scope, String)],
    ) -> bool {
        let owner =
            |(scope, role): &(Scope, String)| *scope == Scope::Organisation(self.0.default) && role == OWNER;
        organisation == self.0.default && memberships.iter().any(owner)
    }

    /// Kind and name of whom a credential belongs to; `None` when that is gone or suspended.
    async fn subject(&self, row: &CredentialRow) -> Result<Option<(ActorKind, String)>> {
        let db = self.0.db.reader();
        if row.kind == Kind::Workload {
            return Ok(Some((ActorKind::Workload, row.name.clone())));
        }
        if row.subject.starts_with("u-") {
            let found =
                person::by_id(db, &row.subject).await?.filter(|person| person.status == person::ACTIVE);
            return Ok(found.map(|person| (ActorKind::Person, person.name)));
        }
        let found = service_account::find(db, row.organisation, &row.subject)
            .await?
            .filter(|account| account.status == person::ACTIVE);
        Ok(found.map(|account| (ActorKind::ServiceAccount, account.name)))
    }

    /// Says why; and where a replaced token came back after its end, writes down that it was seen to fail.
    async fn refuse(&self, row: Option<CredentialRow>, now: Timestamp, told: bool) -> Result<Error> {
        let Some(row) = row else {
            return Ok(refused(
                "unauthenticated",
                "this token is unknown here: sign in, or ask for a new one",
            ));
        };
        if row.status == credential::ROTATING && now >= row.expires_at && told {
            self.prove_end(&row.id, "presented").await?;
        }
        let (code, message) = match row.status.as_str() {
            credential::REVOKED => ("token_revoked", "this was revoked: sign in, or ask for a new token"),
            _ if now >= row.expires_at => {
                ("token_expired", "this has expired: sign in, or ask for a new token")
            }
            credential::ACTIVE | credential::ROTATING if row.opens(now) => {
                ("suspended", "this account is suspended: ask an owner")
            }
            _ => ("session_idle", "this session was idle for too long: sign in again"),
        };
        Ok(refused(code, message))
    }

    /// Writes down that a replaced token was seen to fail: now its rotation is done.
    pub(crate) async fn prove_end(&self, id: &str, by: &str) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        if credential::proven(&mut tx, id, by, self.0.now()).await? {
            let message = format!("the replaced token was tried and refused ({by}): its rotation is done");
            self.0
                .record(&mut tx, "token.rotated", format!("token/{id}"), message, json!({ "by": by }))
                .await?;
            self.0.commit(tx).await?;
        }
        Ok(())
    }

    /// Whether the platform has, or ever had, an owner. Then the token of its first start opens nothing more.
    ///
    /// # Errors
    /// As the database's.
    pub async fn is_owned(&self) -> Result<bool> {
        if *self.0.owned.borrow() {
            return Ok(true);
        }
        let (now, generation) = (self.0.now(), self.0.cache.generation());
        let seen = *self.0.cache.unowned.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some_and(|(at, when)| at == generation && now.since(when) < FRESH) {
            return Ok(false);
        }
        if membership::was_owned(self.0.db.reader(), self.0.default).await? {
            self.0.owned.send_replace(true);
            return Ok(true);
        }
        *self.0.cache.unowned.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, now));
        Ok(false)
    }

    /// Waits until the platform has its first owner. Who comes by another replica is heard of within seconds.
    pub async fn becomes_owned(&self) {
        let mut told = self.0.owned.subscribe();
        loop {
            match self.is_owned().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!("whether the platform has an owner is unknown: {error}"),
            }
            tokio::select! {
                _ = told.wait_for(|owned| *owned) => {}
                () = self.0.clock.sleep(ELSEWHERE) => {}
            }
        }
    }

    /// Who owns a project, for the check of a request. Projects that are older than teams belong to the default organisation.
    ///
    /// # Errors
    /// As the database's.
    pub async fn project_owner(&self, name: &str) -> Result<Owner> {
        let (now, generation) = (self.0.now(), self.0.cache.generation());
        let remembered =
            self.0.cache.owners.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let found = match remembered {
            Some((at, loaded, found)) if at == generation && now.since(loaded) < FRESH => found,
            _ => {
                let found = project::find(self.0.db.reader(), name).await?;
                let found =
                    found.map(|found| Owner { organisation: found.organisation, team: Some(found.team) });
                let mut owners = self.0.cache.owners.write().unwrap_or_else(PoisonError::into_inner);
                if owners.len() >= MOST {
                    owners.clear();
                }
                owners.insert(name.to_owned(), (generation, now, found.clone()));
                found
            }
        };
        Ok(found.unwrap_or(Owner { organisation: self.0.default, team: None }))
    }
}
