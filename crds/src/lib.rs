//! What Hookswitch's programs agree on: the custom resources, their conditions, the expression
//! language, and the snapshot that the operator writes and receivers follow.
//!
//! Nothing here does IO, and nothing is async: the operator, the receiver and the user's tool all
//! build on it, and the same input gives the same answer in each.

pub mod address;
pub mod condition;
pub mod crd;
pub mod duration;
#[allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "`kubectl explain` shows these texts as they are"
)]
pub mod event_route;
pub mod expression;
pub mod key;
pub mod postgres_url;
pub mod quantity;
pub mod receiver_lease;
pub mod secret;
pub mod secret_ref;
pub mod snapshot;
pub mod subject;
#[allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "`kubectl explain` shows these texts as they are"
)]
pub mod subscription;
pub mod template;
mod text;
pub mod validation;
pub mod words;
