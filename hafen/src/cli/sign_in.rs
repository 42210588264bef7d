//! Signing in at a platform elsewhere, out, and who one is there.

use std::sync::Arc;
use std::time::Duration;

use hafen_base::{Clock as _, Error, ErrorKind, Result, SystemClock};
use hafen_client::oauth::{DeviceAuthorization, Polled, Tokens};
use hafen_client::wire::{StepUp, Whoami};
use hafen_client::{Client, Token};

use super::context::{Context, client, usage};
use crate::home::Home;
use crate::output;
use crate::reach::{Way, way};
use crate::sign_in::{SignIn, SignedIn, check_url};

/// What the command line may do with a sign-in: all that the person may.
const SCOPE: &str = "openid profile offline_access api";

/// Makes sure that somebody is signed in where that is needed. Gives where, and whether it is anew.
pub async fn ensure() -> Result<Option<(SignIn, bool)>> {
    match way(&Home::find()?)? {
        Way::Local(_) | Way::Token { .. } => Ok(None),
        Way::SignedIn(sign_in) => match whoami_at(&sign_in).await {
            Ok(_) => Ok(Some((sign_in, false))),
            Err(error) if error.kind() == ErrorKind::Unauthenticated => anew(&sign_in.url).await,
            Err(error) => Err(error),
        },
        Way::Nobody { url } => anew(&url).await,
    }
}

async fn whoami_at(sign_in: &SignIn) -> Result<Whoami> {
    Client::new(Arc::new(SignedIn::new(sign_in.clone())?), Token::new("")).whoami().await
}

async fn anew(url: &str) -> Result<Option<(SignIn, bool)>> {
    let sign_in = SignIn::at(&check_url(url)?)?;
    let client = sign_in.client()?;
    let begun = client.device_begin(SCOPE).await?;
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(500).collect::<String>();
    let page = begun.verification_uri_complete.as_ref().unwrap_or(&begun.verification_uri);
    output::note(&format!("Open in a browser:  {}", shown(page)));
    output::note(&format!("and allow the code  {}", shown(&begun.user_code)));
    let tokens = answered(&client, &begun).await?;
    sign_in.keep(&tokens).await?;
    let person = whoami_at(&sign_in).await?;
    output::note(&format!("Signed in at {url} as {}.", shown(&person.name)));
    Ok(Some((sign_in, true)))
}

async fn answered(client: &hafen_client::oauth::PublicClient, begun: &DeviceAuthorization) -> Result<Tokens> {
    // What a server says bounds how long and how often it is asked, within reason.
    let deadline = SystemClock.now().plus(Duration::from_secs(begun.expires_in.min(3600)));
    let mut interval = Duration::from_secs(begun.interval.clamp(1, 60));
    loop {
        SystemClock.sleep(interval).await;
        match client.device_poll(&begun.device_code).await {
            Ok(Polled::Granted(tokens)) => return Ok(tokens),
            Ok(Polled::Pending) => {}
            Ok(Polled::SlowDown) => interval += Duration::from_secs(5),
            // RFC 8628, section 3.5: a connection that fails is tried again, more seldom.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                interval = (interval * 2).min(Duration::from_mins(1));
            }
            Err(error) => return Err(error),
        }
        if SystemClock.now() >= deadline {
            return Err(Error::conflict("nobody answered in the browser in time: run `hafen login` again"));
        }
    }
}

/// `hafen logout`
pub async fn logout(context: &Context) -> Result<()> {
    let sign_in = match way(&Home::find()?)? {
        Way::SignedIn(sign_in) => sign_in,
        Way::Nobody { url } => return Err(Error::conflict(format!("nobody is signed in at {url}"))),
        Way::Local(_) | Way::Token { .. } => {
            return Err(usage(
                "nobody is signed in here: this platform is reached by its socket or a token; --url names another",
            ));
        }
    };
    let token = sign_in.forget().await?;
    let client = sign_in.client()?;
    client.revoke(&token).await.map_err(|error| {
        Error::new(
            error.kind(),
            format!(
                "the sign-in is removed here, but {} could not be told: end the session there (`hafen session revoke`). {}",
                sign_in.url,
                error.message()
            ),
        )
    })?;
    if context.json {
        return output::json(&serde_json::json!({ "url": sign_in.url, "signed_in": false }));
    }
    output::line(&format!("Signed out at {}.", sign_in.url));
    Ok(())
}

/// `hafen step-up`
pub async fn step_up(context: &Context, code: Option<String>) -> Result<()> {
    let client = client()?;
    let code = if let Some(code) = code {
        code
    } else {
        output::note("The code of your authenticator app, or a recovery code:");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::Read::take(std::io::stdin().lock(), 200), &mut line)
            .map_err(|error| usage(format!("no code could be read: {error}")))?;
        line
    };
    let code = code.trim().to_owned();
    let is_totp = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let body = if is_totp {
        StepUp { totp: Some(code), ..StepUp::default() }
    } else {
        StepUp { recovery_code: Some(code), ..StepUp::default() }
    };
    let done = client.step_up(&body).await?;
    if context.json {
        return output::json(&done);
    }
    let until = done.get("step_up_until").and_then(serde_json::Value::as_str).unwrap_or("soon");
    output::line(&format!("Proven until {until}."));
    Ok(())
}

/// `hafen whoami`
pub async fn whoami(context: &Context) -> Result<()> {
    let who = client()?.whoami().await?;
    if context.json {
        return output::json(&who);
    }
    output::line(&format!("{} ({}, {})", who.name, who.kind.replace('_', " "), who.id));
    output::line(&format!("organisation  {}", who.organisation));
    output::line(&format!("credential    {}", who.credential));
    for held in &who.roles {
        output::line(&format!("role          {} of {}", held.role, held.scope));
    }
    let limits = [("permissions", &who.scopes), ("projects", &who.projects)];
    for (what, limit) in limits {
        if let Some(limit) = limit {
            output::line(&format!("{what:<12}  only {}", limit.join(", ")));
        }
    }
    if !who.strong {
        output::line("no second factor was proven");
    }
    Ok(())
}
