//! Messages: headers and batch items around the operations (spec 1.4, 6 and 7).
//!
//! A client writes requests with [`encode_request`] or [`RequestBatch`] and reads answers with [`ResponseMessage`]; a server
//! reads [`RequestMessage`] and answers with [`ResponseBatch`].

mod header;
mod request;
mod response;

pub use header::*;
pub use request::{RequestBatch, RequestItem, RequestMessage, encode_request};
pub use response::{ResponseBatch, ResponseItem, ResponseMessage, decode_response};

/// More items than this in one message are refused: nobody sends them, and each costs memory.
pub const MAX_ITEMS: usize = 4096;

/// The Unique Batch Item ID that a client gives the n-th item (from 0).
fn batch_item_id(index: usize) -> Vec<u8> {
    match u8::try_from(index + 1) {
        Ok(id) => vec![id],
        Err(_) => (index + 1).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests;
