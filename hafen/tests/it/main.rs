//! The whole product as its users run it: the real binary, its command line, a platform that gets killed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod apps;
mod apps_own;
mod apps_private;
mod apps_real;
mod bastion;
mod breach;
mod cloud;
mod commands;
mod connections;
mod console;
mod console_walk;
mod credential;
mod documents;
mod edge;
mod first_owner;
mod full_disk;
mod git;
mod hostile;
mod http;
mod identity;
mod kill;
mod ledger;
mod load;
mod operator;
mod outside;
mod people;
mod platform;
mod real;
mod roles;
mod shell;
mod sign_in;
mod tenants;
mod tutorial;
mod vault;
mod walk;
