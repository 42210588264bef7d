//! The few pages a person meets on the way: plain forms made on the server, no script, nothing from elsewhere; German and
//! English after `Accept-Language`. The console takes their place later; the flows stay.

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hafen_client::wire::IdentityProvider;
use hafen_http::Verbatim;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};
use url::Url;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem;color:#16202c;background:#fff}\
label{display:block;margin:.8rem 0}input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}button{font:inherit;padding:.4rem 1rem;margin:.8rem .8rem 0 0}\
.bad{color:#a11}@media(prefers-color-scheme:dark){body{background:#10161d;color:#dce4ec}.bad{color:#f99}}";

/// Words of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    German,
    English,
}

impl Language {
    pub fn of(headers: &HeaderMap) -> Self {
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        // The first of the two that is named is the one preferred, as browsers list them.
        let first = wanted
            .split(',')
            .map(|one| one.trim().to_ascii_lowercase())
            .find(|one| one.starts_with("de") || one.starts_with("en"));
        if first.is_some_and(|one| one.starts_with("de")) { Self::German } else { Self::English }
    }

    pub const fn pick(self, german: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::German => german,
            Self::English => english,
        }
    }

    const fn code(self) -> &'static str {
        self.pick("de", "en")
    }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A hidden field.
pub fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
}

/// A page. `target` is where a form may lead beside ourselves: Chromium counts the redirect after it.
pub fn page(
    status: StatusCode,
    language: Language,
    title: &str,
    body: &str,
    target: Option<&str>,
) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} · Hafen</title><style>{STYLE}</style><h1>{title}</h1>{body}</html>",
        language.code(),
        title = escape(title),
    );
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let origin =
        target.and_then(|target| Url::parse(target).ok()).map(|url| url.origin().ascii_serialization());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        origin.unwrap_or_default()
    );
    let mut answer = (
        status,
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")],
        html,
    )
        .into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    answer.extensions_mut().insert(Verbatim);
    answer
}

pub fn failed(language: Language, status: StatusCode, message: &str) -> Response {
    let body = format!("<p class=\"bad\">{}</p>", escape(message));
    page(status, language, language.pick("Das geht nicht", "This cannot be done"), &body, None)
}

/// Organisation, login, password.
pub fn sign_in(
    language: Language,
    return_to: &str,
    organisation: &str,
    external: &[IdentityProvider],
    problem: Option<&str>,
) -> Response {
    let problem = problem
        .map(|text| format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(text)))
        .unwrap_or_default();
    let body = format!(
        "{problem}<form method=\"post\" action=\"/oauth/sign-in\">{}\
         <label>{} <input name=\"organisation\" value=\"{}\" autocomplete=\"organization\" required></label>\
         <label>{} <input name=\"login\" autocomplete=\"username\" required autofocus></label>\
         <label>{} <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <button>{}</button></form>",
        hidden("return_to", return_to),
        language.pick("Organisation", "Organisation"),
        escape(organisation),
        language.pick("Anmeldename", "Login"),
        language.pick("Passwort", "Password"),
        language.pick("Weiter", "Continue"),
    );
    let back: String = url::form_urlencoded::byte_serialize(return_to.as_bytes()).collect();
    let links = external.iter().fold(String::new(), |links, one| {
        let (id, name, with) = (&one.id, escape(&one.name), language.pick("Anmelden mit", "Sign in with"));
        links
            + &format!(
                "<p><a href=\"/oauth/external?provider={id}&amp;return_to={back}\">{with} {name}</a></p>"
            )
    });
    page(StatusCode::OK, language, language.pick("Anmelden", "Sign in"), &(body + &links), None)
}

/// The one-time code.
pub fn second_factor(language: Language, return_to: &str, ceremony: &str, problem: Option<&str>) -> Response {
    let problem = problem
        .map(|text| format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(text)))
        .unwrap_or_default();
    let body = format!(
        "{problem}<form method=\"post\" action=\"/oauth/sign-in\">{}{}\
         <label>{} <input name=\"code\" autocomplete=\"one-time-code\" required autofocus></label><button>{}</button></form>",
        hidden("return_to", return_to),
        hidden("ceremony", ceremony),
        language.pick("Einmalcode oder Wiederherstellungscode", "One-time code or recovery code"),
        language.pick("Anmelden", "Sign in"),
    );
    page(StatusCode::OK, language, language.pick("Zweiter Faktor", "Second factor"), &body, None)
}
