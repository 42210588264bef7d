//! Types and pure rules. Imports nothing of the modules that store or answer.

pub mod caller;
pub mod jwt;
pub mod password;
pub mod role;
pub mod secret;
pub mod throttle;
pub mod totp;

mod blocklist;
