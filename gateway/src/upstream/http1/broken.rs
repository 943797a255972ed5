//! What can go wrong with an answer.

use std::io;

use crate::http1::BadChunk;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("its connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection before the end of its answer")]
    Closed,
    #[error("the head of its answer cannot be read: {0}")]
    Head(httparse::Error),
    #[error("the head of its answer is too large")]
    HeadTooLarge,
    #[error("its answer has a status that there is not")]
    Status,
    #[error("it says one thing after the other that is no answer")]
    Interim,
    #[error("where its answer ends is not clear")]
    Framing,
    #[error("the body of its answer cannot be read: {0}")]
    Chunk(#[from] BadChunk),
    #[error("the request's body broke off")]
    RequestBody,
}
