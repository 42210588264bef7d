//! The authorization endpoint, and the sign-in on the way to it.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use hafen_base::Timestamp;
use hafen_client::wire::{SignInPassword, SignInSecondFactor};
use hafen_http::Verbatim;
use hafen_http::site::SESSION;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;

use super::pages::{self, Language, escape, hidden};
use super::{Form, OauthError, redirect};
use crate::model::caller::{Caller, Presented};
use crate::model::secret::{Hash, Kind, Secret};
use crate::store::credential;
use crate::store::openid::{self, ClientRow, GrantRow};
use crate::{Identity, Origin};

/// A code is good for a minute.
const CODE: Duration = Duration::from_mins(1);

/// What a client asks for, once it is known where errors may go.
struct Wanted {
    client: ClientRow,
    redirect_uri: String,
    state: Option<String>,
    challenge: String,
    nonce: String,
    scope: String,
    /// The person must sign in anew, or have done so within this time.
    max_age: Option<u64>,
    silent: bool,
}

/// Nothing may go to an address that is not registered: the person is told, not the client.
enum Refused {
    Person(String),
    Client { redirect_uri: String, state: Option<String>, error: OauthError },
}

impl Identity {
    async fn wanted(&self, query: &str) -> Result<Wanted, Refused> {
        let person = |text: &str| Refused::Person(text.to_owned());
        let form = Form::read(query.as_bytes()).map_err(|error| Refused::Person(error.description))?;
        let id = form.get("client_id").ok_or_else(|| person("client_id is missing"))?;
        let client =
            self.oauth_client(id).await.map_err(|error| Refused::Person(error.message().to_owned()))?;
        let client = client.ok_or_else(|| person("this client is unknown"))?;
        let redirect_uri =
            form.get("redirect_uri").ok_or_else(|| person("redirect_uri is missing"))?.to_owned();
        if !redirect::is_registered(&client.shown.redirect_uris, &redirect_uri) {
            return Err(person("redirect_uri is not one that this client registered"));
        }
        let state = form.get("state").map(str::to_owned);
        let refuse = |code: &'static str, text: &str| Refused::Client {
            redirect_uri: redirect_uri.clone(),
            state: state.clone(),
            error: OauthError::new(code, text),
        };
        if form.get("response_type") != Some("code") {
            return Err(refuse("unsupported_response_type", "response_type is `code`"));
        }
        if form.get("request").is_some() || form.get("request_uri").is_some() {
            return Err(refuse("request_not_supported", "request objects are not supported"));
        }
        let challenge = form.get("code_challenge").unwrap_or("");
        if form.get("code_challenge_method") != Some("S256") || challenge.len() != 43 {
            return Err(refuse(
                "invalid_request",
                "PKCE is required: code_challenge with code_challenge_method=S256",
            ));
        }
        let max_age = match (form.get("prompt"), form.get("max_age")) {
            (Some("login"), _) => Some(0),
            (_, Some(seconds)) => Some(
                seconds.parse().map_err(|_| refuse("invalid_request", "max_age is a number of seconds"))?,
            ),
            (_, None) => None,
        };
        Ok(Wanted {
            challenge: challenge.to_owned(),
            nonce: form.get("nonce").unwrap_or("").chars().take(500).collect(),
            scope: super::known_scopes(form.get("scope").unwrap_or("")),
            max_age,
            silent: form.get("prompt") == Some("none"),
            client,
            redirect_uri,
            state,
        })
    }

    /// The person whose session the browser has.
    pub(super) async fn signed_in(&self, headers: &HeaderMap) -> Option<(Caller, String)> {
        let token = self.0.site.cookie(headers, SESSION)?.to_owned();
        let caller = self.authenticate(Presented::Session(&token)).await.ok()?;
        caller.must_be_a_session().ok()?;
        // Proves that a form is one that we gave to this session.
        let form = Hash::of(&format!("form/{token}"));
        Some((caller, form.as_str().to_owned()))
    }

    pub(super) async fn organisation_name(&self, client: &ClientRow) -> String {
        let found = crate::store::organisation::get(self.0.db.reader(), client.shown.organisation).await;
        found.map_or_else(|_| "default".to_owned(), |found| found.name)
    }
}

fn back(redirect_uri: &str, pairs: &[(&str, Option<&str>)]) -> Response {
    let Ok(mut url) = Url::parse(redirect_uri) else {
        return pages::failed(Language::English, StatusCode::BAD_REQUEST, "redirect_uri is not a URL");
    };
    for (name, value) in pairs {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    let mut answer = Redirect::to(url.as_str()).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn refuse(language: Language, issuer: &str, refused: &Refused) -> Response {
    match refused {
        Refused::Person(message) => pages::failed(language, StatusCode::BAD_REQUEST, message),
        Refused::Client { redirect_uri, state, error } => {
            let description = Some(error.description.as_str());
            back(
                redirect_uri,
                &[
                    ("error", Some(error.code)),
                    ("error_description", description),
                    ("state", state.as_deref()),
                    ("iss", Some(issuer)),
                ],
            )
        }
    }
}

/// Shows the sign-in, or asks whether the client may go on.
pub async fn show(
    State(identity): State<Identity>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let (language, query, issuer) = (Language::of(&headers), query.unwrap_or_default(), identity.issuer());
    let wanted = match identity.wanted(&query).await {
        Ok(wanted) => wanted,
        Err(refused) => return refuse(language, &issuer, &refused),
    };
    let now = identity.0.now();
    let fresh =
        |at: Timestamp| wanted.max_age.is_none_or(|age| now.since(at) <= Duration::from_secs(age.max(60)));
    match identity.signed_in(&headers).await {
        Some((caller, form)) if fresh(caller.authenticated_at) && !wanted.silent => {
            let title = language.pick("Zugriff erlauben?", "Allow access?");
            let who = language.pick("Angemeldet als", "Signed in as");
            let body = format!(
                "<p>{who} <b>{}</b>.</p><p><b>{}</b> {}: {}</p><form method=\"post\" action=\"/oauth/authorize\">{}{}\
                 <button name=\"answer\" value=\"allow\">{}</button><button name=\"answer\" value=\"deny\">{}</button></form>",
                escape(&caller.actor.name),
                escape(&wanted.client.shown.name),
                language.pick("möchte Zugriff", "asks for access"),
                escape(&wanted.scope),
                hidden("form", &form),
                hidden("query", &query),
                language.pick("Erlauben", "Allow"),
                language.pick("Ablehnen", "Deny"),
            );
            pages::page(StatusCode::OK, language, title, &body, Some(&wanted.redirect_uri))
        }
        _ if wanted.silent => {
            let error = OauthError::new("interaction_required", "a person must answer");
            refuse(
                language,
                &issuer,
                &Refused::Client { redirect_uri: wanted.redirect_uri, state: wanted.state, error },
            )
        }
        _ => {
            let organisation = identity.organisation_name(&wanted.client).await;
            let external =
                crate::store::external::list(identity.0.db.reader(), wanted.client.shown.organisation)
                    .await
                    .unwrap_or_default();
            pages::sign_in(language, &format!("/oauth/authorize?{query}"), &organisation, &external, None)
        }
    }
}

/// The person's answer.
pub async fn answer(State(identity): State<Identity>, headers: HeaderMap, bytes: Bytes) -> Response {
    let (language, issuer) = (Language::of(&headers), identity.issuer());
    let foreign = || {
        pages::failed(
            language,
            StatusCode::FORBIDDEN,
            language.pick("Diese Anfrage kam nicht von hier.", "This request did not come from here."),
        )
    };
    let Ok(form) = Form::body(&headers, &bytes) else { return foreign() };
    let Some((caller, expected)) = identity.signed_in(&headers).await else { return foreign() };
    if !identity.site().is_own(&headers) || form.get("form") != Some(&expected) {
        return foreign();
    }
    let wanted = match identity.wanted(form.get("query").unwrap_or("")).await {
        Ok(wanted) => wanted,
        Err(refused) => return refuse(language, &issuer, &refused),
    };
    let client = &wanted.client.shown;
    // A client of a tenant is for its people; the command line is for all.
    let denied = form.get("answer") != Some("allow")
        || client.id != super::CLI && client.organisation != caller.organisation;
    if denied {
        let error =
            OauthError::new("access_denied", "the person said no, or belongs to another organisation");
        return refuse(
            language,
            &issuer,
            &Refused::Client { redirect_uri: wanted.redirect_uri, state: wanted.state, error },
        );
    }
    match identity.code(&caller, &wanted).await {
        Ok(code) => back(
            &wanted.redirect_uri,
            &[("code", Some(code.expose())), ("state", wanted.state.as_deref()), ("iss", Some(&issuer))],
        ),
        Err(error) => {
            let error = OauthError::from(error);
            refuse(
                language,
                &issuer,
                &Refused::Client { redirect_uri: wanted.redirect_uri, state: wanted.state, error },
            )
        }
    }
}

impl Identity {
    async fn code(&self, caller: &Caller, wanted: &Wanted) -> hafen_base::Result<Secret> {
        let (now, code) = (self.0.now(), Secret::generate(Kind::AuthorizationCode, &*self.0.random));
        let grant = GrantRow {
            client: wanted.client.shown.id.clone(),
            subject: caller.actor.id.clone(),
            redirect_uri: wanted.redirect_uri.clone(),
            challenge: wanted.challenge.clone(),
            nonce: wanted.nonce.clone(),
            scope: wanted.scope.clone(),
            factors: self.factors_of(caller).await?,
            authenticated_at: caller.authenticated_at,
            status: "granted".into(),
            session: String::new(),
            user_code: String::new(),
            polled_at: now,
            expires_at: now.plus(CODE),
        };
        let mut tx = self.0.db.write().await?;
        openid::grant_insert(&mut tx, &code.hash(), &grant).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        Ok(code)
    }

    pub(super) async fn factors_of(&self, caller: &Caller) -> hafen_base::Result<String> {
        let id = caller.actor.credential.strip_prefix("session/").unwrap_or("");
        Ok(credential::get(self.0.db.reader(), caller.organisation, id).await?.factors)
    }
}

/// Where a sign-in may lead: only to our own pages. Those beside `/oauth/` are the console's.
pub(super) fn own_page(text: &str) -> Option<&str> {
    // A browser reads `//` and `/\` as another host, and passes over what is no character in between.
    let here = text.starts_with('/') && !text.starts_with("//");
    let plain = text.len() <= 2000 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let ours = !text.starts_with("/oauth/")
        || text.starts_with("/oauth/authorize?")
        || text == "/oauth/device"
        || text.starts_with("/oauth/device?");
    (here && plain && ours).then_some(text)
}

/// Password, then code. The session comes as a cookie.
pub async fn sign_in(
    State(identity): State<Identity>,
    origin: Origin,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let language = Language::of(&headers);
    let foreign = || {
        pages::failed(
            language,
            StatusCode::FORBIDDEN,
            language.pick("Diese Anfrage kam nicht von hier.", "This request did not come from here."),
        )
    };
    let Ok(form) = Form::body(&headers, &bytes) else { return foreign() };
    let Some(return_to) = form.get("return_to").and_then(own_page) else { return foreign() };
    if !identity.site().is_own(&headers) {
        return foreign();
    }
    let device = identity.device(&headers);
    let step = if let Some(ceremony) = form.get("ceremony") {
        let code = form.get("code").unwrap_or("").to_owned();
        let digits = code.chars().filter(|c| !c.is_whitespace()).all(|c| c.is_ascii_digit());
        let (totp, recovery_code) = if digits { (Some(code), None) } else { (None, Some(code)) };
        let body = SignInSecondFactor { ceremony: ceremony.to_owned(), totp, recovery_code };
        match identity.sign_in_second_factor(body, &origin).await {
            Err(error) if error.code() == "sign_in_failed" => {
                let wrong = language.pick(
                    "Dieser Code ist falsch oder schon benutzt.",
                    "This code is wrong or was used before.",
                );
                return pages::second_factor(language, return_to, ceremony, Some(wrong));
            }
            step => step,
        }
    } else {
        let text = |name: &str| form.get(name).unwrap_or("").to_owned();
        let body = SignInPassword {
            organisation: Some(text("organisation")),
            login: text("login"),
            password: text("password"),
            device,
        };
        identity.sign_in_password(body, &origin).await
    };
    match step {
        Ok(step) => match (step.session, step.ceremony) {
            (Some(session), _) => {
                let mut answer = Redirect::to(return_to).into_response();
                identity.set_cookies(answer.headers_mut(), &session);
                answer.extensions_mut().insert(Verbatim);
                answer
            }
            (None, Some(ceremony)) => pages::second_factor(language, return_to, &ceremony, None),
            (None, None) => foreign(),
        },
        Err(error) => {
            let wrong = language
                .pick("Anmeldename und Passwort passen nicht zusammen.", "Login and password do not fit.");
            let text =
                if error.code() == "sign_in_failed" { wrong.to_owned() } else { error.message().to_owned() };
            pages::sign_in(
                language,
                return_to,
                form.get("organisation").unwrap_or("default"),
                &[],
                Some(&text),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::own_page;

    #[test]
    fn a_sign_in_leads_to_our_own_pages_only() {
        for good in
            ["/", "/account?tab=signIn", "/oauth/device", "/oauth/device?code=x", "/oauth/authorize?a=b"]
        {
            assert_eq!(own_page(good), Some(good));
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/a\r\nset-cookie: x",
            "https://evil.example",
            "evil",
            "/oauth/external?provider=x",
            "/oauth/authorize",
            "/ä",
        ] {
            assert_eq!(own_page(bad), None, "{bad:?}");
        }
    }
}
