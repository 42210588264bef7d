//! The console's files as answers, to anybody and before the gate: there is nothing in them that is not in every copy of Hafen.
//! What the page then shows it asks of the API, as whoever has signed in.
//!
//! The page is made anew each time, with a nonce of its own for the styles that its script makes (CSP, level 3): it is kept by
//! nobody, and not compressed ahead. All it loads has a digest in its name, and is kept for good.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use hafen_base::{Error, ErrorKind, Random};
use hafen_http::{ApiError, Front};
use hafen_web::{Asset, PAGE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// Where the page has it.
const NONCE: &str = "__NONCE__";

/// What is not the console's, whoever asks.
const OTHERS: &[&str] = &["/api", "/oauth", "/.well-known", "/git", "/hooks", "/ledger", "/health"];

/// What a browser that understands none of it is told, too.
const NOTHING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>Hafen</title><h1>Hafen</h1>\
<p>This binary was built without the console. Run <code>make console</code> (it needs Node.js 20 or newer and npm) and build again. \
The API and the command line work without it: <a href=\"/api/docs\">/api/docs</a>.</p>\
<p lang=\"de\">Dieses Programm wurde ohne die Konsole gebaut. <code>make console</code> (braucht Node.js ab Version 20 und npm) und ein neuer \
Bau beheben das. API und Kommandozeile gehen auch ohne: <a href=\"/api/docs\">/api/docs</a>.</p></html>";

/// The console of this binary.
pub fn front(random: Arc<dyn Random>) -> Front {
    of(hafen_web::ASSETS, random)
}

/// A console of these files.
fn of(assets: &'static [Asset], random: Arc<dyn Random>) -> Front {
    Arc::new(move |request: &Parts| {
        let path = request.uri.path();
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let name = path.strip_prefix('/')?;
        let asset = if name == PAGE { None } else { assets.iter().find(|asset| asset.path == name) };
        let known = asset.is_some() || name.is_empty() || path.starts_with("/assets/");
        if !reads {
            return known.then(refused);
        }
        let head = request.method == Method::HEAD;
        if let Some(asset) = asset {
            return Some(file(asset, &request.headers, head));
        }
        if path.starts_with("/assets/") {
            return Some(
                ApiError::from(Error::not_found("such file of this version of the console")).into_response(),
            );
        }
        let shown = name.is_empty() || is_page(path) && wants_page(&request.headers);
        shown.then(|| page(assets, &*random, head))
    })
}

/// Whether a path belongs to the console, which reads it itself.
fn is_page(path: &str) -> bool {
    !OTHERS
        .iter()
        .any(|other| path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// A browser that opens a page, not a program that asks.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .any(|one| one.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

fn refused() -> Response {
    let error = Error::new(ErrorKind::MethodNotAllowed, "the console is only read: GET or HEAD");
    let mut answer = ApiError::from(error).into_response();
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// Random, and good in a header and an attribute as it is.
fn nonce(random: &dyn Random) -> String {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn page(assets: &[Asset], random: &dyn Random, head: bool) -> Response {
    let nonce = nonce(random);
    let html = assets.iter().find(|asset| asset.path == PAGE).map_or_else(
        || NOTHING.to_owned(),
        |page| String::from_utf8_lossy(page.bytes).replace(NONCE, &nonce),
    );
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let mut answer = sized(html.len(), if head { Body::empty() } else { Body::from(html) });
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        (
            "permissions-policy",
            "publickey-credentials-get=(self), publickey-credentials-create=(self), clipboard-write=(self), camera=(), \
             microphone=(), geolocation=(), payment=(), usb=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// How a file travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Brotli,
    Gzip,
    Identity,
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

/// Whether a coding is taken (RFC 9110, section 12.5.3).
fn takes(headers: &HeaderMap, coding: Coding) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for offer in offers.flat_map(|value| value.split(',')) {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        if name.trim().eq_ignore_ascii_case(coding.name()) {
            return weight > 0.0;
        }
        if name.trim() == "*" {
            any = weight > 0.0;
        }
    }
    any
}

fn file(asset: &Asset, headers: &HeaderMap, head: bool) -> Response {
    let compressed = [(Coding::Brotli, asset.brotli), (Coding::Gzip, asset.gzip)];
    let (coding, bytes) = compressed
        .into_iter()
        .find_map(|(coding, bytes)| bytes.filter(|_| takes(headers, coding)).map(|bytes| (coding, bytes)))
        .unwrap_or((Coding::Identity, asset.bytes));
    let tag = match coding {
        Coding::Identity => format!("\"{}\"", asset.digest),
        other => format!("\"{}-{}\"", asset.digest, other.name()),
    };
    let mut answer = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        sized(bytes.len(), if head { Body::empty() } else { Body::from(bytes) })
    };
    let answered = answer.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answered.insert(header::ETAG, tag);
    }
    let keep =
        if asset.path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    answered.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answered.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if coding != Coding::Identity {
        answered.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    answered.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    // A picture that is opened by itself is a document.
    if asset.content_type.starts_with("image/svg") || asset.content_type.starts_with("text/html") {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";
        answered.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
    answer
}

/// Whether who asks has it already (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*")
}

/// With its length, which a HEAD is told as well.
fn sized(length: usize, body: Body) -> Response {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

#[cfg(test)]
mod tests {
    use hafen_base::SystemRandom;
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::*;

    static BUILT: &[Asset] = &[
        Asset {
            path: PAGE,
            content_type: "text/html; charset=utf-8",
            digest: "00",
            bytes: b"<style nonce=\"__NONCE__\"></style><meta content=\"__NONCE__\">",
            brotli: Some(b"compressed"),
            gzip: None,
        },
        Asset {
            path: "assets/app-1.js",
            content_type: "text/javascript; charset=utf-8",
            digest: "01",
            bytes: b"plain",
            brotli: Some(b"br"),
            gzip: Some(b"gzip"),
        },
        Asset {
            path: "favicon.svg",
            content_type: "image/svg+xml",
            digest: "02",
            bytes: b"<svg/>",
            brotli: None,
            gzip: None,
        },
    ];

    fn ask(assets: &'static [Asset], method: &str, path: &str, lines: &[(&str, &str)]) -> Option<Response> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        of(assets, Arc::new(SystemRandom))(&parts)
    }

    async fn body(answer: Response) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
        answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

    #[tokio::test]
    async fn the_page_has_a_nonce_of_its_own_each_time() {
        let mut nonces = Vec::new();
        for path in [
            "/",
            "/projects/hello?tab=1",
            "/sign-in",
            "/invitation",
            "/hook",
            "/ledgers",
            "/apiary",
            "/index.html",
        ] {
            let answer = ask(BUILT, "GET", path, &[HTML, ("accept-encoding", "br")])
                .unwrap_or_else(|| panic!("{path}"));
            let policy = header(&answer, "content-security-policy").to_owned();
            assert_eq!(header(&answer, "cache-control"), "no-store");
            assert_eq!(header(&answer, "etag"), "");
            assert_eq!(header(&answer, "content-encoding"), "");
            let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
            assert!(!policy.contains("unsafe") && policy.contains("script-src 'self';"), "{policy}");
            let html = body(answer).await;
            assert_eq!(html, format!("<style nonce=\"{nonce}\"></style><meta content=\"{nonce}\">"));
            assert!(nonce.len() >= 32 && !nonces.contains(&nonce), "{nonce}");
            nonces.push(nonce);
        }
        // The page itself is for anybody; other paths are only read as pages where a browser opens one.
        assert!(ask(BUILT, "GET", "/", &[]).is_some());
        assert!(ask(BUILT, "GET", "/projects/hello", &[("accept", "*/*")]).is_none());
        assert!(ask(BUILT, "GET", "/projects/hello", &[]).is_none());
        for path in [
            "/api/docs",
            "/api",
            "/oauth/device",
            "/.well-known/x",
            "/git/a/b",
            "/hooks/1",
            "/ledger/checkpoint",
            "/health",
        ] {
            assert!(ask(BUILT, "GET", path, &[HTML]).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn files_go_as_small_as_they_are_taken() {
        for (accepted, coding, sent) in [
            ("gzip, deflate, br, zstd", "br", "br"),
            ("gzip;q=1.0, br;q=0", "gzip", "gzip"),
            ("*", "br", "br"),
            ("*;q=0", "", "plain"),
            ("br;q=0, *", "gzip", "gzip"),
            ("identity", "", "plain"),
            ("", "", "plain"),
        ] {
            let answer = ask(BUILT, "GET", "/assets/app-1.js", &[("accept-encoding", accepted)]).unwrap();
            assert_eq!(header(&answer, "content-encoding"), coding, "{accepted}");
            assert_eq!(header(&answer, "content-length"), sent.len().to_string());
            assert_eq!(header(&answer, "content-type"), "text/javascript; charset=utf-8");
            assert_eq!(header(&answer, "cache-control"), "public, max-age=31536000, immutable");
            assert_eq!(header(&answer, "vary"), "Accept-Encoding");
            let tag = header(&answer, "etag").to_owned();
            assert_eq!(body(answer).await, sent);
            let known = [("accept-encoding", accepted), ("if-none-match", &format!("\"x\", W/{tag}"))];
            let again = ask(BUILT, "GET", "/assets/app-1.js", &known).unwrap();
            assert_eq!((again.status(), header(&again, "etag")), (StatusCode::NOT_MODIFIED, tag.as_str()));
            assert_eq!(body(again).await, "");
        }
        let answer = ask(BUILT, "GET", "/favicon.svg", &[HTML]).unwrap();
        assert_eq!(header(&answer, "cache-control"), "no-cache");
        assert!(header(&answer, "content-security-policy").contains("sandbox"));
        let answer = ask(BUILT, "HEAD", "/favicon.svg", &[]).unwrap();
        assert_eq!(header(&answer, "content-length"), "6");
        assert_eq!(body(answer).await, "");
    }

    #[test]
    fn what_is_not_there_and_what_is_not_read() {
        for path in ["/assets/app-2.js", "/assets/", "/assets/../index.html"] {
            assert_eq!(ask(BUILT, "GET", path, &[HTML]).unwrap().status(), StatusCode::NOT_FOUND, "{path}");
        }
        for (method, path) in
            [("POST", "/"), ("DELETE", "/assets/app-1.js"), ("OPTIONS", "/favicon.svg"), ("PUT", "/assets/x")]
        {
            let answer = ask(BUILT, method, path, &[]).unwrap();
            assert_eq!(
                (answer.status(), header(&answer, "allow")),
                (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
            );
        }
        // The gate answers as for any other path.
        assert!(ask(BUILT, "POST", "/projects/hello", &[HTML]).is_none());
    }

    #[tokio::test]
    async fn without_a_console_the_page_says_what_mends_that() {
        let answer = ask(&[], "GET", "/", &[]).unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let html = body(answer).await;
        assert!(html.contains("make console") && html.contains("lang=\"de\""), "{html}");
        assert_eq!(ask(&[], "GET", "/assets/x.js", &[]).unwrap().status(), StatusCode::NOT_FOUND);
    }
}
