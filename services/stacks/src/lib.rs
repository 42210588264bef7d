//! stacks
pub mod diff;
pub mod execute;
pub mod model;
pub mod plan;
pub mod platform;
pub mod steps;
mod render;
