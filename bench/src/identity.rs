//! The check of a token, and sign-ins, of the identity service on a real disk; beside the password hash alone, which bounds
//! what a sign-in can cost.
//!
//! In this process and not over HTTP: the check stands inside every request that the other parts measure, and a p99 of
//! microseconds would drown in the round trip.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hafen_base::{Clock as _, Error, Result, SteppedClock, SystemRandom};
use hafen_client::wire::{
    InvitationAccept, InvitationBegin, InvitationCreate, SignInPassword, SignInSecondFactor, StepUp,
};
use hafen_client::{Client, RouterTransport, Token};
use hafen_db::Location;
use hafen_identity::model::password::{Cost, Password, hash};
use hafen_identity::model::totp::{TotpSecret, step_at};
use hafen_identity::{Caller, Identity, IdentityConfig, Presented};
use hafen_work::Health;

use crate::Context;
use crate::platform::broken;
use crate::report::{Figure, Part};

const PASSWORD: &str = "trombone kettle window";
/// At once; fewer than the failures that cost an address nothing.
const PEOPLE: usize = 16;
const CHECKS: usize = 20_000;

struct Person {
    login: String,
    totp: TotpSecret,
    token: String,
}

struct World {
    identity: Identity,
    clock: SteppedClock,
    router: axum::Router,
}

impl World {
    fn client(&self, token: &str) -> Client {
        Client::new(Arc::new(RouterTransport::new(self.router.clone())), Token::new(token))
    }

    /// Codes are good once: time moves on first.
    fn code(&self, totp: &TotpSecret) -> String {
        self.clock.step(Duration::from_secs(30));
        totp.code(step_at(self.clock.now()))
    }

    async fn accept(&self, invitation: &str, login: &str) -> Result<Person> {
        let client = self.client("");
        let begun = client.invitation_begin(&InvitationBegin { token: invitation.to_owned() }).await?;
        let totp =
            TotpSecret::from_base32(&begun.totp_secret).ok_or_else(|| Error::internal("no base 32"))?;
        let body = InvitationAccept {
            ceremony: begun.ceremony,
            login: Some(login.to_owned()),
            name: login.to_owned(),
            password: Some(PASSWORD.into()),
            totp: Some(self.code(&totp)),
            passkey: None,
        };
        let token = client.invitation_accept(&body).await?.session.token;
        Ok(Person { login: login.to_owned(), totp, token })
    }

    async fn sign_in(&self, person: &Person, code: String) -> Result<()> {
        let client = self.client("");
        let body = SignInPassword {
            organisation: None,
            login: person.login.clone(),
            password: PASSWORD.into(),
            device: None,
        };
        let step = client.sign_in_password(&body).await?;
        let body = SignInSecondFactor {
            ceremony: step.ceremony.unwrap_or_default(),
            totp: Some(code),
            recovery_code: None,
        };
        let done = client.sign_in_second_factor(&body).await?;
        if done.session.is_some() { Ok(()) } else { Err(Error::internal("no session")) }
    }
}

async fn open(folder: &std::path::Path) -> Result<World> {
    let clock = SteppedClock::new();
    let identity = Identity::open(IdentityConfig {
        location: Location::Sqlite(folder.to_owned()),
        clock: Arc::new(clock.clone()),
        random: Arc::new(SystemRandom),
        health: Health::default(),
        key: hafen_seal::MasterKey::generate(&SystemRandom),
        public_url: "https://hafen.example.org".into(),
        cost: Cost::STANDARD,
        local_operator: None,
        machines: None,
        fetch: Arc::new(hafen_identity::Network::new()?),
        loopback_issuers: false,
    })
    .await?;
    let (router, _document) = identity.router().split_for_parts();
    let checked = identity.clone();
    let guard = move |mut request: axum::extract::Request, next: axum::middleware::Next| {
        let identity = checked.clone();
        async move {
            let header = request
                .headers()
                .get("authorization")
                .and_then(|value| value.to_str().ok())
                .unwrap_or("")
                .to_owned();
            let caller: Result<Caller> =
                identity.authenticate(Presented::Bearer(header.strip_prefix("Bearer ").unwrap_or(""))).await;
            if let Ok(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
    };
    let router = hafen_http::problems(router.layer(axum::middleware::from_fn(guard)));
    Ok(World { identity, clock, router })
}

pub async fn measure(context: &Context) -> Result<Part> {
    let mut part = Part::new("identity");
    let folder = tempfile::tempdir_in(&context.scratch).map_err(broken("a folder cannot be made"))?;
    let world = open(folder.path()).await?;
    let invitation =
        world.identity.bootstrap_invitation().await?.ok_or_else(|| Error::internal("an owner is there"))?;
    let owner = world.accept(invitation.expose(), "olga@example.org").await?;
    let client = world.client(&owner.token);
    let organisation = client.whoami().await?.organisation.to_string();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        client.step_up(&StepUp { totp: Some(world.code(&owner.totp)), ..StepUp::default() }).await?;
        let body = InvitationCreate {
            login: None,
            scope: organisation.clone(),
            role: "developer".into(),
            hours: None,
        };
        let invited = client.invitation_create(&body).await?;
        people.push(world.accept(&invited.token, &format!("person-{number}@example.org")).await?);
    }
    let (mut checks, mut alone, mut together, mut hashes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..context.runs {
        checks.push(check(&world, &people).await?);
        let began = Instant::now();
        for person in &people {
            let code = world.code(&person.totp);
            world.sign_in(person, code).await?;
        }
        alone.push(rate(began));
        world.clock.step(Duration::from_secs(30));
        let began = Instant::now();
        let step = step_at(world.clock.now());
        let all = people.iter().map(|person| world.sign_in(person, person.totp.code(step)));
        for done in futures::future::join_all(all).await {
            done?;
        }
        together.push(rate(began));
        let began = Instant::now();
        for _ in 0..PEOPLE {
            hash(&Password::from(PASSWORD.to_owned()), Cost::STANDARD, &SystemRandom)?;
        }
        hashes.push(rate(began));
    }
    part.fact("people", (PEOPLE + 1).to_string());
    part.figures.push(Figure::new("check_p99", "check of a token: p99", "us", &checks)?.at_most(1000.0));
    part.figures.push(Figure::new(
        "sign_in_rate",
        "sign-ins with password and code, one after the other",
        "/s",
        &alone,
    )?);
    part.figures.push(Figure::new("sign_in_together", "the same, 16 at once", "/s", &together)?);
    part.figures.push(Figure::new(
        "hash_rate",
        "the password hash alone, one after the other",
        "/s",
        &hashes,
    )?);
    part.ratio("hash_to_sign_in", "hashes to sign-ins", "hash_rate", "sign_in_rate")?;
    Ok(part)
}

#[expect(clippy::cast_precision_loss, reason = "a count of a few")]
fn rate(began: Instant) -> f64 {
    PEOPLE as f64 / began.elapsed().as_secs_f64()
}

/// p99 in microseconds, over all people in turn; a hundredth of the checks find their entry stale and read the database.
async fn check(world: &World, people: &[Person]) -> Result<f64> {
    let mut times = Vec::with_capacity(CHECKS);
    for (number, person) in people.iter().cycle().take(CHECKS).enumerate() {
        if number % (100 * people.len()) == 0 {
            world.clock.step(Duration::from_secs(1));
        }
        let began = Instant::now();
        world.identity.authenticate(Presented::Bearer(&person.token)).await?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times.get(CHECKS * 99 / 100).copied().ok_or_else(|| Error::internal("nothing was measured"))
}
