//! Lists by pages: what a request says of them, and how the answer is wrapped.

use hafen_base::{Page, PageLimit, PageToken, Result};
use hafen_client::wire::List;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// Token of the page, as `next_page` gave it.
    page: Option<String>,
    /// 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

impl Paging {
    /// Of a query that has more than pages.
    pub const fn new(page: Option<String>, limit: Option<u32>) -> Self {
        Self { page, limit }
    }

    /// After what the page begins, and how long it is.
    ///
    /// # Errors
    /// Invalid for a token that no answer gave, and for a length out of bounds.
    pub fn read(&self) -> Result<(String, PageLimit)> {
        Ok((PageToken::decode(self.page.as_deref())?, PageLimit::new(self.limit)?))
    }
}

/// A page as it is answered.
#[must_use]
pub fn list_of<T>(page: Page<T>) -> List<T> {
    List { items: page.items, next_page: page.next_page }
}
