//! A readable page of the OpenAPI document: plain HTML made on the server, no script, nothing from elsewhere.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a serde_json value for reading gives null, never a panic"
)]
#![expect(clippy::format_push_string, reason = "a page made once per request; plain beats fast")]

use serde_json::Value;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#16202c;\
background:#fff}code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f2f5f8;padding:.7rem;overflow:auto}\
summary{cursor:pointer;padding:.3rem 0}.m{display:inline-block;min-width:4.5rem;font-weight:600}\
table{border-collapse:collapse}td{padding:.15rem .9rem .15rem 0;vertical-align:top}\
@media(prefers-color-scheme:dark){body{background:#10161d;color:#dce4ec}pre{background:#1a232d}a{color:#8ec5ff}}";

/// The page for a document as `/api/v1/openapi.json` gives it.
pub fn docs_page(document: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Hafen API</title><style>{STYLE}</style><h1>Hafen API</h1>\
         <p>{}</p><p>Machine-readable: <a href=\"/api/v1/openapi.json\">openapi.json</a> (OpenAPI {}). Every request carries \
         <code>Authorization: Bearer TOKEN</code>. Errors are <code>application/problem+json</code> (RFC 9457).</p>",
        escape(document["info"]["description"].as_str().unwrap_or("")),
        escape(document["openapi"].as_str().unwrap_or("")),
    );
    let mut last_tag = String::new();
    let mut rows: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("general").to_owned();
            rows.push((tag, entry(method, path, operation)));
        }
    }
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    for (tag, html) in rows {
        if tag != last_tag {
            page.push_str(&format!("<h2>{}</h2>", escape(&tag)));
            last_tag = tag;
        }
        page.push_str(&html);
    }
    page.push_str("<h2>Types</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        page.push_str(&format!(
            "<details id=\"{0}\"><summary><code>{0}</code></summary><p>{1}</p><pre>{2}</pre></details>",
            escape(name),
            escape(schema["description"].as_str().unwrap_or("")),
            escape(&serde_json::to_string_pretty(schema).unwrap_or_default()),
        ));
    }
    page
}

fn entry(method: &str, path: &str, operation: &Value) -> String {
    let mut html = format!(
        "<details><summary><span class=\"m\">{}</span><code>{}</code> {}</summary><p>{}</p><table>",
        escape(&method.to_uppercase()),
        escape(path),
        escape(operation["summary"].as_str().unwrap_or("")),
        escape(operation["description"].as_str().unwrap_or("")),
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        html.push_str(&format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(parameter["name"].as_str().unwrap_or("")),
            escape(parameter["in"].as_str().unwrap_or("")),
            escape(parameter["description"].as_str().unwrap_or("")),
        ));
    }
    html.push_str("</table><table>");
    if let Some(body) = schema_name(&operation["requestBody"]) {
        html.push_str(&format!("<tr><td>body</td><td><a href=\"#{0}\">{0}</a></td></tr>", escape(&body)));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let kind = schema_name(response).map(|name| format!("<a href=\"#{0}\">{0}</a>", escape(&name)));
        html.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(status),
            kind.unwrap_or_default(),
            escape(response["description"].as_str().unwrap_or("")),
        ));
    }
    html.push_str("</table></details>");
    html
}

fn schema_name(holder: &Value) -> Option<String> {
    let content = holder["content"].as_object()?.values().next()?;
    let reference = content["schema"]["$ref"].as_str()?;
    reference.rsplit('/').next().map(str::to_owned)
}
