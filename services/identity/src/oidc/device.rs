//! The device flow (RFC 8628): a terminal shows a code, a person enters it in a browser.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::pages::{self, Language, escape, hidden};
use super::{Form, OauthError, OauthResult};
use crate::model::secret::{Hash, Kind, Secret};
use crate::store::openid::{self, ClientRow, GrantRow};
use crate::{Identity, Origin};

const PATIENCE: Duration = Duration::from_mins(10);
const INTERVAL: Duration = Duration::from_secs(5);
/// No vowels (no words), no letters that look like others: 20^8 codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

pub async fn begin(State(identity): State<Identity>, headers: HeaderMap, bytes: Bytes) -> Response {
    match identity.device_begin(&headers, &bytes).await {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response(),
        Err(error) => error.into_response(),
    }
}

impl Identity {
    async fn device_begin(&self, headers: &HeaderMap, bytes: &Bytes) -> OauthResult<Value> {
        let form = Form::body(headers, bytes)?;
        let client = self.client_of(headers, &form).await?;
        let (now, device) = (self.0.now(), Secret::generate(Kind::DeviceCode, &*self.0.random));
        let mut random = [0_u8; 32];
        self.0.random.fill(&mut random);
        // Bytes from 240 on would favour some letters.
        let letters =
            random.iter().filter(|byte| **byte < 240).filter_map(|byte| LETTERS.get(usize::from(byte % 20)));
        let code: String = letters.take(8).map(|letter| char::from(*letter)).collect();
        if code.len() < 8 {
            return Err(OauthError::new("temporarily_unavailable", "try again"));
        }
        let grant = GrantRow {
            client: client.shown.id,
            subject: String::new(),
            redirect_uri: String::new(),
            challenge: String::new(),
            nonce: String::new(),
            scope: super::known_scopes(form.get("scope").unwrap_or("openid")),
            factors: String::new(),
            authenticated_at: now,
            status: "waiting".into(),
            session: String::new(),
            user_code: code.clone(),
            polled_at: hafen_base::Timestamp::default(),
            expires_at: now.plus(PATIENCE),
        };
        let mut tx = self.0.db.write().await?;
        openid::grant_insert(&mut tx, &device.hash(), &grant).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let (left, right) = code.split_at(4);
        let (shown, page) = (format!("{left}-{right}"), format!("{}/oauth/device", self.issuer()));
        Ok(json!({
            "device_code": device.expose(), "user_code": shown, "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={shown}"), "expires_in": PATIENCE.as_secs(), "interval": INTERVAL.as_secs(),
        }))
    }

    /// Whether a device code was answered.
    ///
    /// # Errors
    /// `authorization_pending`, `slow_down`, `access_denied`, `expired_token`.
    pub(super) async fn device_poll(&self, client: &ClientRow, hash: &Hash) -> OauthResult<()> {
        let now = self.0.now();
        let mut tx = self.0.db.write().await?;
        let grant = openid::grant(&mut tx, hash)
            .await?
            .filter(|grant| grant.client == client.shown.id && !grant.user_code.is_empty());
        let grant = grant.ok_or_else(|| OauthError::new("invalid_grant", "this device code is unknown"))?;
        if now >= grant.expires_at {
            return Err(OauthError::new("expired_token", "nobody entered the code in time: begin again"));
        }
        match grant.status.as_str() {
            "denied" => Err(OauthError::new("access_denied", "the person said no")),
            "waiting" => {
                let hasty = now.since(grant.polled_at) < INTERVAL;
                openid::grant_polled(&mut tx, hash, now).await?;
                tx.commit().await.map_err(hafen_db::store_error)?;
                let code = if hasty { "slow_down" } else { "authorization_pending" };
                Err(OauthError::new(code, "nobody has entered the code yet"))
            }
            _ => Ok(()),
        }
    }

    async fn waiting(&self, code: &str) -> Option<(GrantRow, ClientRow)> {
        let mut tx = self.0.db.write().await.ok()?;
        let grant = openid::grant_by_user_code(&mut tx, code, self.0.now()).await.ok()??;
        drop(tx);
        let client = self.oauth_client(&grant.client).await.ok()??;
        Some((grant, client))
    }
}

/// As people type it.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase()).take(20).collect()
}

/// Asks for the code; with one, asks whether the device may go on.
pub async fn show(
    State(identity): State<Identity>,
    origin: Origin,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let (language, query) = (Language::of(&headers), query.unwrap_or_default());
    let code = Form::read(query.as_bytes())
        .ok()
        .and_then(|form| form.get("user_code").map(plain))
        .unwrap_or_default();
    let Some((caller, form)) = identity.signed_in(&headers).await else {
        let return_to = if code.is_empty() {
            "/oauth/device".to_owned()
        } else {
            format!("/oauth/device?user_code={code}")
        };
        return pages::sign_in(language, &return_to, "default", &[], None);
    };
    let title = language.pick("Gerät verbinden", "Connect a device");
    if code.is_empty() {
        let body = format!(
            "<form method=\"get\" action=\"/oauth/device\"><label>{} <input name=\"user_code\" required autofocus></label><button>{}</button></form>",
            language.pick("Code, den das Gerät zeigt", "The code that the device shows"),
            language.pick("Weiter", "Continue"),
        );
        return pages::page(StatusCode::OK, language, title, &body, None);
    }
    // Guessing codes is slowed like guessing passwords: per session.
    let unknown = || {
        pages::failed(
            language,
            StatusCode::NOT_FOUND,
            language.pick("Diesen Code gibt es nicht (mehr).", "There is no such code, or no longer."),
        )
    };
    let admitted = match identity
        .admit(&format!("user-code/{}", caller.actor.id), Some(&caller.actor.credential), &origin)
        .await
    {
        Ok(admitted) => admitted,
        Err(error) => return pages::failed(language, StatusCode::TOO_MANY_REQUESTS, error.message()),
    };
    let Some((grant, client)) = identity.waiting(&code).await else { return unknown() };
    if let Ok(mut tx) = identity.0.db.write().await {
        let _slowed_at_worst = identity.forgive(&mut tx, &admitted).await;
        let _slowed_at_worst = tx.commit().await;
    }
    let body = format!(
        "<p>{} <b>{}</b>.</p><p><b>{}</b> {}: {}</p><p>{}</p><form method=\"post\" action=\"/oauth/device\">{}{}\
         <button name=\"answer\" value=\"allow\">{}</button><button name=\"answer\" value=\"deny\">{}</button></form>",
        language.pick("Angemeldet als", "Signed in as"),
        escape(&caller.actor.name),
        escape(&client.shown.name),
        language.pick("möchte Zugriff", "asks for access"),
        escape(&grant.scope),
        language.pick(
            "Erlauben Sie das nur, wenn Sie selbst gerade dieses Gerät verbinden.",
            "Allow this only if it is you who is connecting this device right now.",
        ),
        hidden("form", &form),
        hidden("user_code", &code),
        language.pick("Erlauben", "Allow"),
        language.pick("Ablehnen", "Deny"),
    );
    pages::page(StatusCode::OK, language, title, &body, None)
}

/// The person's answer.
pub async fn answer(State(identity): State<Identity>, headers: HeaderMap, bytes: Bytes) -> Response {
    let language = Language::of(&headers);
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
    let code = form.get("user_code").map(plain).unwrap_or_default();
    let unknown = || {
        pages::failed(
            language,
            StatusCode::NOT_FOUND,
            language.pick("Diesen Code gibt es nicht (mehr).", "There is no such code, or no longer."),
        )
    };
    let Some((mut grant, client)) = identity.waiting(&code).await else { return unknown() };
    let allowed = form.get("answer") == Some("allow")
        && (client.shown.id == super::CLI || client.shown.organisation == caller.organisation);
    let work = async {
        grant.status = if allowed { "granted".into() } else { "denied".into() };
        grant.subject.clone_from(&caller.actor.id);
        grant.factors = identity.factors_of(&caller).await?;
        grant.authenticated_at = caller.authenticated_at;
        let mut tx = identity.0.db.write().await?;
        let answered = openid::grant_answer(&mut tx, &code, &grant).await?;
        identity.0.commit(tx).await?;
        Ok::<bool, hafen_base::Error>(answered)
    };
    match work.await {
        Ok(true) if allowed => {
            let body = format!(
                "<p>{}</p>",
                language.pick("Sie können dieses Fenster schließen.", "You may close this window.")
            );
            pages::page(StatusCode::OK, language, language.pick("Verbunden", "Connected"), &body, None)
        }
        Ok(true) => pages::failed(
            language,
            StatusCode::OK,
            language.pick("Das Gerät wurde abgewiesen.", "The device was refused."),
        ),
        Ok(false) => unknown(),
        Err(error) => pages::failed(language, StatusCode::SERVICE_UNAVAILABLE, error.message()),
    }
}
