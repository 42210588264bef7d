//! The client's side of an exchange, whichever protocol it speaks.

use std::future::Future;

use crate::answer::Answer;
use crate::pages::Page;
use crate::wire::Broken;

/// A request's body, as the client sends it.
pub trait Source: Send {
    /// Waits for some of the body; false at its end. `chunk` is it then.
    fn fill(&mut self) -> impl Future<Output = Result<bool, Broken>> + Send;
    fn chunk(&self) -> &[u8];
    fn consume(&mut self);
    /// Ends when the client has gone away. Nothing is lost when it is dropped.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// Where the answer goes.
pub trait Sink: Send {
    /// Whether a head was given already.
    fn is_begun(&self) -> bool;
    /// The client may send its body.
    fn proceed(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Gives the head; `end` when no body follows. Nothing needs to be written yet.
    fn head(&mut self, answer: &Answer<'_>, end: bool) -> Result<(), Broken>;
    /// Passes on a piece of the body; `end` when it is the last.
    fn data(&mut self, bytes: &[u8], end: bool) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Has everything written that was given.
    fn flush(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Ends a body whose length was not known.
    fn finish(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Ends when the client wants no answer any more. Nothing is lost when it is dropped.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
    /// Answers by ourselves.
    fn page(&mut self, page: &Page) -> impl Future<Output = Result<(), Broken>> + Send;
}
