//! stacks
pub mod diff;
pub mod model;
pub mod plan;
mod render;
