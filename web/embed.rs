//! The console, as `make console` built it into `web/dist`: its files as bytes of the binary, with what an HTTP server says of
//! them. Where there was no `web/dist` when this was compiled there are none, and the compiler said so.
//!
//! Must not know: HTTP servers, who may see what. cargo never runs npm (`build.rs`).

/// One file of the console.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// As `assets/index-B1x2.js`; `index.html` is the page itself.
    pub path: &'static str,
    pub content_type: &'static str,
    /// SHA-256 of the bytes, in hexadecimal digits.
    pub digest: &'static str,
    pub bytes: &'static [u8],
    /// The same, compressed with Brotli (RFC 7932), where the build made that.
    pub brotli: Option<&'static [u8]>,
    /// And with gzip (RFC 1952).
    pub gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The page of the console.
pub const PAGE: &str = "index.html";
