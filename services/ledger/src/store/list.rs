//! Lists of entries by filters that people ask for.

use hafen_base::{Permitted, Result, Timestamp};
use hafen_db::{Columns, Own, Visible, sqlx, store_error};

use super::Reads;
use super::entry::{ENTRY, EntryRow, entry_row};
use super::person::PersonRow;

/// What is asked for; all that is given must hold.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What may be seen, whatever is asked for.
    pub permitted: Permitted,
    /// Pseudonyms of the actor; of nobody when empty.
    pub actors: Option<Vec<PersonRow>>,
    /// The object as it is written, and the pseudonyms of the person it stands for.
    pub object: Option<(String, Vec<PersonRow>)>,
    pub project: Option<String>,
    pub organisation: Option<String>,
    /// A kind, or its beginning with a `*` after it.
    pub kind: Option<String>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub newest_first: bool,
    /// Go on after this shard and position.
    pub after: Option<(i64, i64)>,
}

impl Filter {
    /// Everything that may be seen.
    pub fn all(permitted: Permitted) -> Self {
        Self {
            permitted,
            actors: None,
            object: None,
            project: None,
            organisation: None,
            kind: None,
            from: None,
            until: None,
            newest_first: false,
            after: None,
        }
    }
}

/// Whose an entry is. One of no project is its actor's organisation's.
const COLUMNS: Columns =
    Columns { project: "e.project", at: Some("e.at"), organisation: Own::Column("e.organisation") };

enum Bound {
    Text(String),
    Number(i64),
}

/// Conditions and the values bound to them.
#[derive(Default)]
struct Where {
    conditions: Vec<String>,
    values: Vec<Bound>,
}

impl Where {
    fn bind(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn text(&mut self, column: &str, value: &str) {
        let place = self.bind(Bound::Text(value.to_owned()));
        // The index leaves out empty ones, and is only used when the query says so too.
        self.conditions.push(format!("({column} = {place} AND {column} <> '')"));
    }

    fn any_of(&mut self, column: &str, values: &[String]) {
        let places: Vec<String> = values.iter().map(|value| self.bind(Bound::Text(value.clone()))).collect();
        self.conditions.push(if places.is_empty() {
            "1 = 0".into()
        } else {
            format!("({column} IN ({}) AND {column} <> '')", places.join(", "))
        });
    }
}

pub async fn entries<'c>(db: impl Reads<'c>, filter: &Filter, limit: i64) -> Result<Vec<EntryRow>> {
    let mut wanted = Where::default();
    let pseudonyms = |rows: &[PersonRow]| rows.iter().map(|row| row.pseudonym.clone()).collect::<Vec<_>>();
    if let Some(actors) = &filter.actors {
        wanted.any_of("e.actor", &pseudonyms(actors));
    }
    if let Some((object, persons)) = &filter.object {
        let mut names = vec![object.clone()];
        names.extend(pseudonyms(persons).iter().map(|pseudonym| format!("person/{pseudonym}")));
        wanted.any_of("e.object", &names);
    }
    if let Some(project) = &filter.project {
        wanted.text("e.project", project);
    }
    if let Some(organisation) = &filter.organisation {
        wanted.text("e.organisation", organisation);
    }
    if let Some(kind) = &filter.kind {
        if let Some(begin) = kind.strip_suffix('*') {
            let length = i64::try_from(begin.chars().count()).unwrap_or(0);
            let (begin, length) =
                (wanted.bind(Bound::Text(begin.to_owned())), wanted.bind(Bound::Number(length)));
            wanted.conditions.push(format!("substr(e.kind, 1, CAST({length} AS INTEGER)) = {begin}"));
        } else {
            wanted.text("e.kind", kind);
        }
    }
    for (time, sign) in [(filter.from, ">="), (filter.until, "<")] {
        if let Some(time) = time {
            let place = wanted.bind(Bound::Number(time.micros()));
            wanted.conditions.push(format!("e.at {sign} {place}"));
        }
    }
    let (sign, order) = if filter.newest_first { ("<", "DESC") } else { (">", "ASC") };
    if let Some((shard, position)) = filter.after {
        let (shard, position) = (wanted.bind(Bound::Number(shard)), wanted.bind(Bound::Number(position)));
        wanted.conditions.push(format!("(e.shard, e.position) {sign} ({shard}, {position})"));
    }
    let place = wanted.bind(Bound::Number(limit));
    let visible = Visible::new(&filter.permitted, COLUMNS, wanted.values.len() + 1);
    wanted.conditions.push(visible.condition().to_owned());
    let conditions = wanted.conditions.join(" AND ");
    // Only names of columns and places of values go into the text.
    let sql =
        format!("{ENTRY} WHERE {conditions} ORDER BY e.shard {order}, e.position {order} LIMIT {place}");
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for value in wanted.values {
        query = match value {
            Bound::Text(text) => query.bind(text),
            Bound::Number(number) => query.bind(number),
        };
    }
    visible.bind(query).fetch_all(db).await.map_err(store_error)?.iter().map(entry_row).collect()
}
