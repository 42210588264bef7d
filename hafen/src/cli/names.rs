//! The names of those whom the API names by id alone, for who may see who belongs; the id otherwise. For people to read:
//! programs get the ids.

use std::collections::{BTreeMap, BTreeSet};

use hafen_base::ErrorKind;
use hafen_client::Client;
use serde_json::Value;

use super::ask::part;

/// Each is a request. A list of so many makers is read by nobody.
const MOST: usize = 100;
/// Fields that hold the id of somebody.
const FIELDS: [&str; 2] = ["created_by", "destroyed_by"];

#[derive(Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// Asks for each once. What cannot be told stays an id: who reads a list must not fail for want of a name.
    pub async fn of<'a>(
        client: &Client,
        project: Option<&str>,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let ids: BTreeSet<&str> = ids.into_iter().filter(|id| !id.is_empty()).collect();
        let mut names = BTreeMap::new();
        let mut closed = BTreeSet::new();
        for id in ids.iter().take(MOST) {
            let (noun, path) = match id.split_once('-') {
                Some(("u", _)) => ("people", format!("/api/v1/people/{}", part(id))),
                Some(("sa", _)) => ("accounts", format!("/api/v1/service-accounts/{}", part(id))),
                Some(("wi", _)) => ("workloads", format!("/api/v1/workload-identities/{}", part(id))),
                Some(("hook", _)) => {
                    let Some(project) = project else { continue };
                    ("hooks", format!("/api/v1/projects/{project}/hooks/{}", part(id)))
                }
                Some(("uid", _)) => {
                    names.insert((*id).to_owned(), "local operator".to_owned());
                    continue;
                }
                _ => continue,
            };
            if closed.contains(noun) {
                continue;
            }
            match client.get::<Value>(&path).await {
                Ok(found) => {
                    let name = found.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
                    let of_hook =
                        |name: &str| if noun == "hooks" { format!("hook {name}") } else { name.to_owned() };
                    names.extend(name.map(|name| ((*id).to_owned(), of_hook(name))));
                }
                // One that is gone, or another organisation's: the others may be there.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(_) => {
                    closed.insert(noun);
                }
            }
        }
        // Everybody knows themselves.
        if ids.iter().any(|id| !names.contains_key(*id))
            && let Ok(own) = client.whoami().await
        {
            names.insert(own.id, own.name);
        }
        Self(names)
    }

    /// Of all who stand in answers of the API.
    pub async fn within(client: &Client, answers: &[Value]) -> Self {
        let mut ids = BTreeSet::new();
        for answer in answers {
            collect(answer, &mut ids);
        }
        Self::of(client, None, ids).await
    }

    pub fn name(&self, id: &str) -> String {
        let name = self.0.get(id).map_or(id, String::as_str);
        // As whoever has it wrote it: it must not command a terminal.
        name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// Puts the names in place of the ids.
    pub fn put(&self, answer: &mut Value) {
        match answer {
            Value::Object(fields) => {
                for (field, value) in fields {
                    if let Some(id) = value.as_str().filter(|_| FIELDS.contains(&field.as_str())) {
                        *value = Value::String(self.name(id));
                    } else {
                        self.put(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.put(item)),
            _ => {}
        }
    }
}

fn collect<'a>(answer: &'a Value, ids: &mut BTreeSet<&'a str>) {
    match answer {
        Value::Object(fields) => {
            for (field, value) in fields {
                match value.as_str().filter(|_| FIELDS.contains(&field.as_str())) {
                    Some(id) => drop(ids.insert(id)),
                    None => collect(value, ids),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stand_in_place_of_ids_where_they_are_known() {
        let mut answer =
            json!({ "hook": { "name": "u-1", "created_by": "u-1" }, "items": [{ "created_by": "u-2" }] });
        let mut ids = BTreeSet::new();
        collect(&answer, &mut ids);
        assert_eq!(ids, BTreeSet::from(["u-1", "u-2"]));
        Names(BTreeMap::from([("u-1".into(), "Olga\u{1b}[2J".into())])).put(&mut answer);
        assert_eq!(
            answer,
            json!({ "hook": { "name": "u-1", "created_by": "Olga [2J" }, "items": [{ "created_by": "u-2" }] })
        );
    }
}
