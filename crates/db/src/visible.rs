//! The part of a query that keeps to what a caller may see. It stands in the query itself: filtered afterwards, pages would be
//! short, and their lengths would tell how much there is of others.

use hafen_base::{Permitted, Projects, Sight};
use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

/// Where a row says whose it is. Names of columns go into the text of the query: constants, never input.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    pub project: &'static str,
    /// When it happened; none where the row is the project as it is now.
    pub at: Option<&'static str>,
    pub organisation: Own,
}

/// How a row of no project says which organisation did it.
#[derive(Debug, Clone, Copy)]
pub enum Own {
    Nowhere,
    Column(&'static str),
    /// In the actor of an event, as JSON. Within a string of it quotes are escaped, so that no name can pass for one.
    Actor(&'static str),
}

enum Value {
    Text(String),
    Number(i64),
}

/// A condition, and the values that are bound to it.
pub struct Visible {
    condition: String,
    values: Vec<Value>,
    next: usize,
}

impl Visible {
    /// The condition for `permitted`; its places are numbered from `first`.
    pub fn new(permitted: &Permitted, columns: Columns, first: usize) -> Self {
        let mut visible = Self { condition: "1 = 1".into(), values: Vec::new(), next: first };
        if let Permitted::Only(sight) = permitted {
            visible.condition = visible.only(sight, columns);
        }
        visible
    }

    /// To stand after `WHERE` or `AND`.
    pub fn condition(&self) -> &str {
        &self.condition
    }

    /// The number of the first place after it.
    pub const fn next(&self) -> usize {
        self.next
    }

    /// Binds its values, in order, after those of the places before it.
    pub fn bind<'q>(&self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        self.values.iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text.clone()),
            Value::Number(number) => query.bind(*number),
        })
    }

    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        self.next += 1;
        format!("${}", self.next - 1)
    }

    fn only(&mut self, sight: &Sight, columns: Columns) -> String {
        let project = columns.project;
        let (names, word) = match &sight.projects {
            Projects::These(names) => (names, "IN"),
            Projects::AllBut(names) => (names, "NOT IN"),
        };
        let places: Vec<String> = names.iter().map(|name| self.place(Value::Text(name.clone()))).collect();
        // An empty list is no SQL, and an empty name is no project.
        let mut condition = match (&sight.projects, places.is_empty()) {
            (Projects::These(_), true) => "1 = 0".to_owned(),
            (Projects::AllBut(_), true) => format!("{project} <> ''"),
            (_, false) => format!("{project} <> '' AND {project} {word} ({})", places.join(", ")),
        };
        if let Some(at) = columns.at.filter(|_| !sight.since.is_empty()) {
            let rows: Vec<String> = sight
                .since
                .iter()
                .map(|(name, since)| {
                    let name = self.place(Value::Text(name.clone()));
                    format!("({name}, {})", self.place(Value::Number(since.micros())))
                })
                .collect();
            // Both databases call the columns of VALUES so.
            condition = format!(
                "{condition} AND NOT EXISTS (SELECT 1 FROM (VALUES {}) AS before WHERE before.column1 = {project} AND {at} < before.column2)",
                rows.join(", ")
            );
        }
        let own = match (&sight.organisation, columns.organisation) {
            (None, _) | (_, Own::Nowhere) => return format!("({condition})"),
            (Some(id), Own::Column(column)) => {
                format!("{column} = {}", self.place(Value::Text(id.clone())))
            }
            (Some(id), Own::Actor(column)) => {
                let text = format!("%\"organisation\":\"{id}\"%");
                format!("{column} LIKE {}", self.place(Value::Text(text)))
            }
        };
        format!("({condition} OR {project} = '' AND {own})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use hafen_base::Timestamp;
    use sqlx::Row as _;

    use super::*;
    use crate::{Db, Migration, testing};

    const TABLE: &[Migration] = &[Migration {
        name: "1",
        sql: "CREATE TABLE thing (id BIGINT NOT NULL, project TEXT NOT NULL, at BIGINT NOT NULL, org TEXT NOT NULL, actor TEXT NOT NULL);
INSERT INTO thing VALUES (1, 'a', 10, 'o-1', '{\"name\":\"x\",\"organisation\":\"o-1\"}');
INSERT INTO thing VALUES (2, 'b', 10, 'o-2', '{\"name\":\"x\",\"organisation\":\"o-2\"}');
INSERT INTO thing VALUES (3, '', 10, 'o-1', '{\"name\":\"x\",\"organisation\":\"o-1\"}');
INSERT INTO thing VALUES (4, '', 10, 'o-2', '{\"name\":\"\\\",\\\"organisation\\\":\\\"o-1\\\"\",\"organisation\":\"o-2\"}');
INSERT INTO thing VALUES (5, 'a', 20, 'o-1', '{}');
INSERT INTO thing VALUES (6, '', 10, '', '{\"kind\":\"platform\"}');
",
    }];

    #[tokio::test]
    async fn rows_of_others_are_not_there() {
        let set =
            |names: &[&str]| Arc::new(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        let only = |projects, organisation: Option<&str>, since: &[(&str, i64)]| {
            let since = since.iter().map(|(name, at)| ((*name).to_owned(), Timestamp::from_micros(*at)));
            let organisation = organisation.map(str::to_owned);
            Permitted::Only(Sight {
                organisation,
                projects,
                since: Arc::new(since.collect::<BTreeMap<_, _>>()),
            })
        };
        let cases: Vec<(Permitted, &[i64])> = vec![
            (Permitted::Everything, &[1, 2, 3, 4, 5, 6]),
            (Permitted::nothing(), &[]),
            (only(Projects::These(set(&["a"])), None, &[]), &[1, 5]),
            (only(Projects::These(set(&["a", "b"])), None, &[("a", 15)]), &[2, 5]),
            (only(Projects::These(set(&["a"])), Some("o-1"), &[("a", 15), ("z", 1)]), &[3, 5]),
            (only(Projects::AllBut(set(&["a"])), None, &[]), &[2]),
            (only(Projects::AllBut(set(&[])), Some("o-2"), &[]), &[1, 2, 4, 5]),
            (only(Projects::AllBut(set(&["b"])), Some("o-1"), &[("a", 11)]), &[3, 5]),
        ];
        for (name, database) in testing::both() {
            let db = Db::open(&database.location, "visible", TABLE).await.unwrap();
            for organisation in [Own::Column("org"), Own::Actor("actor")] {
                let columns = Columns { project: "project", at: Some("at"), organisation };
                for (permitted, expected) in &cases {
                    let visible = Visible::new(permitted, columns, 2);
                    let sql = format!(
                        "SELECT id FROM thing WHERE id >= $1 AND {} ORDER BY id LIMIT ${}",
                        visible.condition(),
                        visible.next()
                    );
                    let query = visible.bind(sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).bind(1_i64));
                    let rows = query.bind(100_i64).fetch_all(db.reader()).await.unwrap();
                    let found: Vec<i64> = rows.iter().map(|row| row.get("id")).collect();
                    assert_eq!(found, *expected, "{name} {permitted:?} {sql}");
                }
            }
        }
    }
}
