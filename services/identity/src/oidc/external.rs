//! Signing in through an external OpenID provider: authorization code with PKCE, state and nonce. Who comes back is known by
//! (issuer, sub) alone; an account is linked by the person who holds both, signed in, with a fresh second factor.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hafen_base::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jsonwebtoken::jwk::JwkSet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::Form;
use super::authorize::own_page;
use super::pages::{self, Language};
use crate::model::jwt::{self, Claims};
use crate::model::secret::{Hash, Kind, Secret, recognise};
use crate::store::{ceremony, external, factor, organisation, person};
use crate::{Identity, Origin};

const CEREMONY: &str = "external";
const PATIENCE: Duration = Duration::from_mins(10);

#[derive(Serialize, Deserialize)]
struct Journey {
    provider: String,
    nonce: String,
    /// PKCE.
    verifier: String,
    return_to: String,
    /// The person who links its account; a sign-in otherwise.
    link: Option<String>,
}

fn refused(text: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, text).with_code("sign_in_failed")
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::unavailable(format!("the external provider's answer has no {name}")))
}

fn state_of(secret: &str) -> Hash {
    Hash::of(&format!("state/{secret}"))
}

impl Identity {
    async fn discovered(&self, issuer: &str) -> Result<Value> {
        let found = self
            .0
            .fetch
            .json(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')), None)
            .await?;
        // A document that speaks for another is somebody's attempt to mix providers up.
        if text(&found, "issuer")? != issuer {
            return Err(Error::unavailable(
                "the external provider calls itself by another name than configured",
            ));
        }
        Ok(found)
    }

    fn callback(&self) -> String {
        format!("{}/oauth/external-callback", self.issuer())
    }

    /// Where the browser goes, and the secret that its cookie keeps.
    async fn journey_begin(
        &self,
        provider: &str,
        return_to: &str,
        link: Option<String>,
    ) -> Result<(Url, Secret)> {
        let found = external::by_id(self.0.db.reader(), provider).await?;
        let (provider, _) = found.ok_or_else(|| Error::not_found("such identity provider"))?;
        let discovered = self.discovered(&provider.issuer).await?;
        let random = || Secret::generate(Kind::Ceremony, &*self.0.random).expose().to_owned();
        let journey = Journey {
            provider: provider.id,
            nonce: random(),
            verifier: random(),
            return_to: return_to.to_owned(),
            link,
        };
        let secret = Secret::generate(Kind::Ceremony, &*self.0.random);
        let mut url = Url::parse(text(&discovered, "authorization_endpoint")?).map_err(Error::internal)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", &self.callback())
            .append_pair("scope", "openid")
            .append_pair("state", state_of(secret.expose()).as_str())
            .append_pair("nonce", &journey.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(&journey.verifier)))
            .append_pair("code_challenge_method", "S256");
        let kept = serde_json::to_string(&journey).map_err(Error::internal)?;
        let mut tx = self.0.db.write().await?;
        ceremony::insert(&mut tx, &secret.hash(), CEREMONY, "", &kept, self.0.now().plus(PATIENCE)).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        Ok((url, secret))
    }

    /// Trades the code and checks the ID token. Gives the journey and what the provider says.
    async fn journey_end(&self, secret: &str, form: &Form) -> Result<(Journey, Claims)> {
        if recognise(secret) != Some(Kind::Ceremony) {
            return Err(refused("this sign-in is over: begin again"));
        }
        let state = form.get("state").unwrap_or("");
        if !bool::from(state_of(secret).as_str().as_bytes().ct_eq(state.as_bytes())) {
            return Err(refused("this answer belongs to another browser"));
        }
        let hash = Hash::of(secret);
        let mut tx = self.0.db.write().await?;
        let row = ceremony::find(&mut tx, &hash, CEREMONY, self.0.now())
            .await?
            .ok_or_else(|| refused("this sign-in is over: begin again"))?;
        ceremony::delete(&mut tx, &hash).await?;
        tx.commit().await.map_err(hafen_db::store_error)?;
        let journey: Journey = serde_json::from_str(&row.state).map_err(Error::internal)?;
        let found = external::by_id(self.0.db.reader(), &journey.provider).await?;
        let (provider, sealed) = found.ok_or_else(|| refused("this provider is no longer configured"))?;
        // RFC 9207: an answer that another provider gave.
        if form.get("iss").is_some_and(|iss| iss != provider.issuer) {
            return Err(refused("this answer comes from another provider"));
        }
        let code = form.get("code").ok_or_else(|| refused("the provider refused the sign-in"))?;
        let discovered = self.discovered(&provider.issuer).await?;
        let secret = self.0.key.open(&format!("provider/{}", provider.id), &sealed)?;
        let escape = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic =
            STANDARD.encode(format!("{}:{}", escape(&provider.client_id), escape(secret.expose_text()?)));
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.callback())
            .append_pair("code_verifier", &journey.verifier)
            .finish();
        let tokens = self.0.fetch.json(text(&discovered, "token_endpoint")?, Some((basic, body))).await?;
        let keys = self.0.fetch.json(text(&discovered, "jwks_uri")?, None).await?;
        let keys: JwkSet = serde_json::from_value(keys)
            .map_err(|_| Error::unavailable("the external provider's keys cannot be read"))?;
        let claims = jwt::check(
            text(&tokens, "id_token")?,
            &keys,
            &provider.issuer,
            &provider.client_id,
            self.0.now(),
        )
        .map_err(|jwt::Refused(why)| refused(why))?;
        if claims.get("nonce").and_then(Value::as_str) != Some(&journey.nonce) {
            return Err(refused("this ID token belongs to another sign-in"));
        }
        // Meant for several: then for us in the first place (OpenID Connect Core, section 3.1.3.7).
        if claims.get("azp").is_some_and(|azp| azp.as_str() != Some(&provider.client_id)) {
            return Err(refused("this ID token was given to another client"));
        }
        Ok((journey, claims))
    }

    async fn arrive(
        &self,
        secret: &str,
        form: &Form,
        origin: &Origin,
        headers: &HeaderMap,
    ) -> Result<Response> {
        let language = Language::of(headers);
        let (journey, claims) = self.journey_end(secret, form).await?;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("");
        let mut tx = self.0.db.write().await?;
        if let Some(id) = journey.link {
            let here = self.signed_in(headers).await.filter(|(caller, _)| caller.actor.id == id);
            let (caller, _) = here.ok_or_else(|| refused("sign in as who began this"))?;
            if !external::link(&mut tx, &journey.provider, subject, &id, self.0.now()).await? {
                return Err(Error::conflict("this account is linked already"));
            }
            let data = json!({ "provider": journey.provider });
            let work = self.0.record(
                &mut tx,
                "external_identity.linked",
                format!("person/{id}"),
                "an account was linked".into(),
                data,
            );
            caller.actor.clone().acts(work).await?;
            self.0.commit(tx).await?;
            return Ok(Redirect::to(&journey.return_to).into_response());
        }
        let known = external::person(&mut *tx, &journey.provider, subject).await?;
        let person = match known {
            Some(id) => person::by_id(&mut *tx, &id).await?.filter(|person| person.status == person::ACTIVE),
            None => None,
        };
        let person = person
            .ok_or_else(|| refused("nobody here is linked to this account: sign in and link it first"))?;
        let id = person.id.to_string();
        let says = |method: &str| {
            claims.get("amr").and_then(Value::as_array).is_some_and(|amr| amr.iter().any(|one| one == method))
        };
        if !says("mfa") && factor::totp(&mut *tx, &id).await?.is_some() {
            drop(tx);
            let ceremony = self.second_factor_begin(&id, "external", None).await?;
            return Ok(pages::second_factor(language, &journey.return_to, &ceremony, None));
        }
        if !says("mfa") && organisation::get(&mut *tx, person.organisation).await?.policy.second_factor {
            return Err(refused(
                "this organisation asks for a second factor, and neither the provider nor this account has shown one",
            ));
        }
        let factors: &[&str] = if says("mfa") { &["external", "external_mfa"] } else { &["external"] };
        let session =
            origin.actor(&person, "").acts(self.session_begin(&mut tx, &person, factors, origin)).await?;
        self.0.commit(tx).await?;
        let mut answer = Redirect::to(&journey.return_to).into_response();
        self.set_cookies(answer.headers_mut(), &session);
        Ok(answer)
    }

    fn journey_cookie(&self, value: &str, age: Duration) -> Option<HeaderValue> {
        let age = u32::try_from(age.as_secs()).unwrap_or(0);
        HeaderValue::from_str(&self.0.site.set_cookie("external", value, Some(age))).ok()
    }
}

fn failed(language: Language, error: &Error) -> Response {
    if error.kind() == ErrorKind::Internal {
        tracing::error!(cause = %error.cause_chain(), "external sign-in: {error}");
    }
    let status = StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    pages::failed(language, status, error.message())
}

/// Sends the browser to the provider.
pub async fn leave(
    State(identity): State<Identity>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let language = Language::of(&headers);
    let form = Form::read(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let provider = form.get("provider").unwrap_or("").to_owned();
    let return_to = form.get("return_to").and_then(own_page).unwrap_or("/oauth/device").to_owned();
    let link = if form.get("link").is_some() {
        // A link from elsewhere must not begin one.
        let here = identity.signed_in(&headers).await.filter(|_| identity.site().is_own(&headers));
        let here = here.filter(|(caller, _)| caller.stepped_up(identity.0.now()));
        let Some((caller, _)) = here else {
            let text = language.pick(
                "Melden Sie sich an und bestätigen Sie den zweiten Faktor.",
                "Sign in and prove your second factor first.",
            );
            return pages::failed(language, StatusCode::FORBIDDEN, text);
        };
        Some(caller.actor.id)
    } else {
        None
    };
    match identity.journey_begin(&provider, &return_to, link).await {
        Ok((url, secret)) => {
            let mut answer = Redirect::to(url.as_str()).into_response();
            if let Some(cookie) = identity.journey_cookie(secret.expose(), PATIENCE) {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            answer
        }
        Err(error) => failed(language, &error),
    }
}

/// The browser comes back.
pub async fn arrive(
    State(identity): State<Identity>,
    origin: Origin,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let language = Language::of(&headers);
    let form = Form::read(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let secret = identity.site().cookie(&headers, "external").unwrap_or("").to_owned();
    let mut answer = match identity.arrive(&secret, &form, &origin, &headers).await {
        Ok(answer) => answer,
        Err(error) => {
            if error.kind() == ErrorKind::Unauthenticated {
                let written = origin
                    .unknown(None)
                    .acts(identity.refused(None, "an external sign-in was refused"))
                    .await;
                if let Err(error) = written {
                    return failed(language, &error);
                }
            }
            failed(language, &error)
        }
    };
    if let Some(cookie) = identity.journey_cookie("", Duration::ZERO) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}
