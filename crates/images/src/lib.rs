//! Images of machines: built from Debian packages under a lock, or taken from elsewhere by their hash.

mod build;
mod cloud;
mod digest;
mod durable;
mod error;
mod ext4;
mod gc;
mod host;
mod image;
mod lock;
mod packages;
mod recipe;
mod resolve;
mod run;
mod store;
mod tree;
mod verify;

pub use digest::Digest;
pub use error::{Error, Result};
pub use image::{Format, Image, Kind};
pub use lock::lock_fits;
pub use recipe::{Base, BaseFile, Contents, MAX_FILES_SIZE, MAX_PACKAGES, Recipe, RecipeFile};
pub use store::Store;
