//! Images of machines: built from Debian packages under a lock, or taken from elsewhere by their hash.
//!
//! # How an image is built
//!
//! A [`Recipe`] without a lock is first *resolved*: apt, given an empty system and the host's Debian mirror
//! (`HAFEN_MIRROR` overrides it), says which packages it would install. That is the lock. From here on a build with a
//! given lock and one without take the same road: the packages come from the cache or the mirror and must have the
//! lock's SHA-256; mmdebstrap installs exactly them, from a repository of nothing else, in namespaces without a network;
//! the files of the recipe and those of the platform are put in; mke2fs makes the disk. All times are the lock's, so two
//! builds from one lock are the same bit by bit, by whichever user. (Another version of mmdebstrap or e2fsprogs may lay
//! out a disk differently: then the digest differs, and [`Store::verify`] says so.)
//!
//! Root and ordinary users build alike; the latter need subordinate users (`/etc/subuid`) and newuidmap.
//!
//! Without a lock, the newest image of the very same recipe is taken if it is in the store: a second run is cheap and
//! needs no mirror. To resolve anew, let [`Store::gc`] remove that image, or change the recipe.
//!
//! # The lock
//!
//! JSON, a line per package, sorted by name; people keep it beside their manifest and read its differences.
//!
//! ```json
//! {
//!   "about": "Lock of a Hafen image: …",
//!   "format": 1,
//!   "distribution": "debian",
//!   "release": "trixie",
//!   "architecture": "amd64",
//!   "epoch": 1795432958,
//!   "date": "2026-11-23T11:22:38Z",
//!   "requested": ["nginx-light"],
//!   "packages": [
//!     {"name":"adduser","version":"3.152","architecture":"all","archive":"main","path":"pool/main/a/…","size":190932,"sha256":"…"}
//!   ]
//! }
//! ```
//!
//! `epoch` (and `date`, the same for people) is when the newest of the mirror's package lists was published; `requested`
//! is what was asked for by name, by the recipe and by the platform; `archive` is `main` or `security`, and `path` is
//! below that archive's URL, whatever mirror serves it. A lock is refused for a recipe that requests other packages
//! ([`lock_fits`]). Mirrors drop old versions: a build then fails with [`Error::Gone`] unless the cache has them; a
//! snapshot mirror of the lock's date in `HAFEN_MIRROR` does.
//!
//! # The store
//!
//! Shared by all homes, and processes, of a cache:
//!
//! | path | |
//! |---|---|
//! | `images/DIGEST/meta.json` | kind, sizes and hashes of the other files; the digest is the SHA-256 of this text |
//! | `images/DIGEST/disk` | raw ext4 of a built image, qcow2 of a cloud image; a backing file that never changes |
//! | `images/DIGEST/kernel`, `initrd` | of a built image |
//! | `images/DIGEST/lock.json`, `recipe.json`, `tree` | what it was built from, and a line per path in it: for [`Store::verify`] |
//! | `holds/DIGEST/…` | a file per home that needs the image; its content is the home's path |
//! | `index/KEY` | the digest that a recipe, a recipe with a lock, or the hash of a cloud image became |
//! | `packages/SHA256.deb` | the package cache |
//! | `work/` | builds under way, each with a lock file that is free when its process is gone |
//! | `locks/` | `store`: images come, go, are held · `packages`: shared by builds, taken alone to remove packages · one per build |
//!
//! Whatever is made is made in `work/`, made durable, and renamed. A crash, a full disk or a dropped future leaves the
//! images as they were, and what is left in `work/` goes with the next [`Store::open`]. Locks are `flock`s: they end with
//! their process.
//!
//! This crate must not know of machines, services or hypervisors.

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
