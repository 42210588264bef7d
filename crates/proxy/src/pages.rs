//! Answers of our own: errors, the maintenance page, the way to https. Pages are for persons who know nothing of what is behind.

use bytes::Bytes;
use hafen_base::Clock;
use http::Method;

use crate::answer;

/// An answer of our own.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    /// Besides length and date.
    pub fields: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// Its body is not sent, only told.
    pub head_only: bool,
    pub date: String,
}

impl Page {
    /// A page that says what is the matter.
    pub fn error(status: u16, why: &str, clock: &dyn Clock) -> Self {
        let title = match status {
            502 => "Bad gateway",
            other => answer::reason(other),
        };
        let mut fields = Vec::new();
        if status == 503 {
            fields.push(("retry-after", "5".to_owned()));
        }
        if status == 429 {
            fields.push(("retry-after", "1".to_owned()));
        }
        Self::html(status, title, why, fields, clock)
    }

    /// The page of a host that is worked on.
    pub fn maintenance(clock: &dyn Clock) -> Self {
        let fields = vec![("retry-after", "60".to_owned())];
        let why = "This site is being worked on and will be back soon. · Diese Seite wird gerade gewartet und ist bald wieder da.";
        Self::html(503, "Maintenance · Wartung", why, fields, clock)
    }

    /// Leads elsewhere; the method stays what it is.
    pub fn redirect(to: &str, clock: &dyn Clock) -> Self {
        Self {
            status: 308,
            fields: vec![("location", to.to_owned())],
            body: Bytes::new(),
            head_only: false,
            date: answer::date(clock),
        }
    }

    pub fn text(body: String, clock: &dyn Clock) -> Self {
        Self {
            status: 200,
            fields: vec![
                ("content-type", "text/plain; charset=utf-8".into()),
                ("x-content-type-options", "nosniff".into()),
            ],
            body: body.into(),
            head_only: false,
            date: answer::date(clock),
        }
    }

    fn html(
        status: u16,
        title: &str,
        why: &str,
        mut fields: Vec<(&'static str, String)>,
        clock: &dyn Clock,
    ) -> Self {
        fields.extend([
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'".to_owned()),
        ]);
        let body = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>body{{font:1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:36rem;padding:0 1rem;\
             color-scheme:light dark}}</style><h1>{title}</h1><p>{}</p><p><small>{status} · <!--id--></small></p></html>\n",
            escape(why)
        );
        Self { status, fields, body: body.into(), head_only: false, date: answer::date(clock) }
    }

    /// Names the request on it, for who asks about it.
    #[must_use]
    pub fn for_request(mut self, id: &str) -> Self {
        if let Ok(text) = std::str::from_utf8(&self.body)
            && text.contains("<!--id-->")
        {
            self.body = text.replace("<!--id-->", &format!("request {id}")).into();
        }
        if !self.fields.iter().any(|(name, _)| *name == "x-request-id") {
            self.fields.push(("x-request-id", id.to_owned()));
        }
        self
    }

    #[must_use]
    pub fn for_method(mut self, method: &Method) -> Self {
        self.head_only = method == Method::HEAD;
        self
    }

    pub fn size(&self) -> u64 {
        if self.head_only { 0 } else { self.body.len() as u64 }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
