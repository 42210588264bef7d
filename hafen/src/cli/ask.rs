//! One call of the API and how its answer is shown: the same for every noun of identity.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use hafen_base::{Error, ErrorKind, Result};
use hafen_client::wire::List;
use hafen_client::{Client, Conditions};
use http::Method;
use serde_json::{Map, Value};

use super::context::{Context, fresh_key, usage};
use super::names::Names;
use crate::output;

/// How an answer is shown to a person. Programs get it as the API gave it.
pub enum Show {
    /// A table of these fields, page by page.
    List(&'static [&'static str]),
    /// The same of a list that comes whole.
    All(&'static [&'static str]),
    One,
    /// As `One`, on stderr; and on stdout alone the secret of this field, which is shown once.
    Secret(&'static str),
    /// As `Secret`, of the field `token`; it is accepted in a browser, too.
    Invitation,
    /// What was done; there is nothing to show.
    Done(&'static str),
}

pub struct Ask {
    method: Method,
    path: String,
    body: Option<Value>,
    query: Vec<(&'static str, String)>,
    generation: Option<i64>,
    show: Show,
}

impl Ask {
    /// `path` below `/api/v1`.
    pub fn new(method: Method, path: &str, show: Show) -> Self {
        Self { method, path: path.to_owned(), body: None, query: Vec::new(), generation: None, show }
    }

    /// Fields that were not said (null) are left out.
    pub fn body(mut self, mut body: Value) -> Self {
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        self.body = Some(body).filter(|body| !body.is_null());
        self
    }

    pub fn narrow(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    pub fn of(self, organisation: Option<String>) -> Self {
        self.narrow("organisation", organisation)
    }

    /// Only if nobody changed it since.
    pub fn at_generation(mut self, generation: Option<i64>) -> Self {
        self.generation = generation;
        self
    }

    fn url(&self) -> String {
        let mut url = format!("/api/v1{}", self.path);
        for (at, (name, value)) in self.query.iter().enumerate() {
            // Writing to a String cannot fail.
            let _written = write!(url, "{}{name}={}", if at == 0 { '?' } else { '&' }, part(value));
        }
        url
    }

    pub async fn run(self, context: &Context, client: &Client) -> Result<()> {
        if let Show::List(columns) | Show::All(columns) = self.show {
            let mut items: Vec<Value> = if matches!(self.show, Show::All(_)) {
                client.get::<List<Value>>(&self.url()).await?.items
            } else {
                client.list_all(&self.url()).await?
            };
            if context.json {
                return output::json_list(&items);
            }
            let names = Names::within(client, &items).await;
            for item in &mut items {
                names.put(item);
            }
            let head: Vec<String> =
                columns.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
            let head: Vec<&str> = head.iter().map(String::as_str).collect();
            let rows: Vec<Vec<String>> = items
                .iter()
                .map(|item| {
                    columns.iter().map(|name| text(item.get(*name).unwrap_or(&Value::Null))).collect()
                })
                .collect();
            output::table(&head, &rows);
            return Ok(());
        }
        let mut conditions = if self.method == Method::POST { fresh_key() } else { Conditions::default() };
        conditions.if_match = self.generation.map(|generation| format!("\"g{generation}\""));
        let url = self.url();
        let mut answer: Value = client.call(self.method, &url, self.body.as_ref(), &conditions).await?;
        if !context.json {
            Names::within(client, std::slice::from_ref(&answer)).await.put(&mut answer);
        }
        match self.show {
            Show::Done(done) if context.json => output::json(&serde_json::json!({ "status": done })),
            _ if context.json => output::json(&answer),
            Show::Done(done) => {
                output::line(done);
                Ok(())
            }
            Show::Secret(_) | Show::Invitation => {
                let name = if let Show::Secret(name) = self.show { name } else { "token" };
                let mut rest = answer;
                let secret = rest.as_object_mut().and_then(|fields| fields.remove(name));
                for line in lines(&rest) {
                    output::note(&line);
                }
                if matches!(self.show, Show::Invitation)
                    && let Some(page) = crate::reach::invitation_page(&crate::home::Home::find()?)
                {
                    output::note(&format!("whom it is for accepts it in a browser, at {page}"));
                }
                output::note("the secret is shown this once:");
                output::line(&text(&secret.unwrap_or_default()));
                Ok(())
            }
            Show::One | Show::List(_) | Show::All(_) => {
                for line in lines(&answer) {
                    output::line(&line);
                }
                Ok(())
            }
        }
    }
}

/// The fields of an object, with those of objects within, as `name  value`.
fn lines(value: &Value) -> Vec<String> {
    let mut fields = Vec::new();
    flatten("", value, &mut fields);
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    fields.into_iter().map(|(name, value)| format!("{name:<width$}  {value}").trim_end().to_owned()).collect()
}

fn flatten(before: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let Some(object) = value.as_object() else { return };
    for (name, value) in object {
        let name = name.replace('_', " ");
        let name = if before.is_empty() { name } else { format!("{before} {name}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&name, value, fields),
            Value::Null => {}
            _ => fields.push((name, text(value))),
        }
    }
}

/// A value in one line. What others named (titles, clients) must not command a terminal.
fn text(value: &Value) -> String {
    let plain = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(fields) => pairs(fields),
        other => other.to_string(),
    };
    plain.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn pairs(fields: &Map<String, Value>) -> String {
    fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(",")
}

/// As a part of a path or query.
pub fn part(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _written = write!(out, "%{byte:02X}");
        }
    }
    // These two would be other paths.
    if matches!(out.as_str(), "." | "..") { out.replace('.', "%2E") } else { out }
}

/// None of them: no limit.
pub fn words(words: Vec<String>) -> Option<Vec<String>> {
    Some(words).filter(|words| !words.is_empty())
}

pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn read(path: &Path) -> Result<String> {
    const MOST: u64 = 1 << 20;
    let unreadable = |error: std::io::Error| usage(format!("{} cannot be read: {error}", path.display()));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(MOST).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MOST).read_to_string(&mut text).map_err(unreadable)?;
    }
    Ok(text)
}

/// A secret from a file or stdin: as an argument every user of this machine could read it.
pub fn secret(path: &Path) -> Result<String> {
    let text = read(path)?.trim().to_owned();
    if text.is_empty() { Err(usage(format!("{} is empty", path.display()))) } else { Ok(text) }
}

pub fn json_file(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?).map_err(|error| usage(format!("{}: {error}", path.display())))
}

fn at(path: &str, organisation: Option<&str>) -> String {
    let query = organisation.map(|name| format!("?organisation={}", part(name))).unwrap_or_default();
    format!("/api/v1{path}{query}")
}

fn id(found: &Value) -> Result<String> {
    let id = found.get("id").and_then(Value::as_str);
    id.map(ToOwned::to_owned).ok_or_else(|| Error::internal("an answer of the API has no id"))
}

/// Where a role is held, as the API names it: a team, a project, or else the organisation.
pub async fn scope(
    client: &Client,
    organisation: Option<&str>,
    team: Option<&str>,
    project: Option<&str>,
) -> Result<String> {
    match (team, project, organisation) {
        (Some(team), _, _) => id(&client.get(&at(&format!("/teams/{}", part(team)), organisation)).await?),
        (None, Some(project), _) => Ok(format!("project/{project}")),
        (None, None, Some(name)) => {
            id(&client.get(&at(&format!("/organisations/{}", part(name)), None)).await?)
        }
        (None, None, None) => Ok(client.whoami().await?.organisation.to_string()),
    }
}

/// The id of a person or service account that is named as people name them.
pub async fn subject(client: &Client, organisation: Option<&str>, named: &str) -> Result<String> {
    if named.starts_with("u-") || named.starts_with("sa-") {
        return Ok(named.to_owned());
    }
    for noun in ["people", "service-accounts"] {
        match client.get(&at(&format!("/{noun}/{}", part(named)), organisation)).await {
            Ok(found) => return id(&found),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::not_found(format!("person or service account {named:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_in_their_place() {
        assert_eq!(part("olga@example.org/x?y"), "olga%40example.org%2Fx%3Fy");
        assert_eq!((part(".."), part("...")), ("%2E%2E".into(), "...".into()));
        let ask = Ask::new(Method::GET, "/teams", Show::One).of(Some("a&b".into())).narrow("scope", None);
        assert_eq!(ask.url(), "/api/v1/teams?organisation=a%26b");
    }

    #[test]
    fn an_object_reads_line_by_line() {
        let value = json!({ "id": "u-1", "policy": { "idle_minutes": 60 }, "factors": ["a", "b"], "gone": null, "name": "a\u{1b}[2J" });
        // In the order of the answer, or of the alphabet: a feature of serde_json, which some builds have on, decides.
        let mut lines = lines(&value);
        lines.sort();
        assert_eq!(
            lines,
            [
                "factors              a,b",
                "id                   u-1",
                "name                 a [2J",
                "policy idle minutes  60"
            ]
        );
        assert_eq!(text(&json!({ "n": 1, "ref": "main" })), "n=1,ref=main");
    }
}
