//! Permission → rule → store → wake, one file per resource.

pub mod deploy_key;
pub mod hook;
pub mod push;
pub mod repository;
pub mod ssh;
mod tell;

use hafen_base::Error;

fn label(what: &str, pointer: &str, name: &str) -> hafen_base::Result<()> {
    hafen_base::check_label(what, name).map_err(|message| Error::invalid_field(pointer, message))
}
