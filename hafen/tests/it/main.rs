//! The whole product as its users run it: the real binary, its command line, a platform that gets killed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bastion;
mod breach;
mod cloud;
mod commands;
mod connections;
mod credential;
mod documents;
mod edge;
mod first_owner;
mod full_disk;
mod hostile;
mod http;
mod identity;
mod kill;
mod ledger;
mod operator;
mod outside;
mod people;
mod platform;
mod real;
mod roles;
mod sign_in;
mod tenants;
mod tutorial;
mod walk;
