//! What the database is to hold: the files that say so, and comparing two databases.
//!
//! `infra/supabase/schemas` says what is true today, `infra/supabase/migrations` how a database gets there. That both lead to the same is
//! shown by comparing the catalogues of two databases, one made each way.
//!
//! | module | does |
//! |---|---|
//! | [`files`] | which schema files there are, in their order |
//! | [`catalogue`] | what a database holds, and how two differ |
//! | [`draft`] | the next migration, from what differs |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod catalogue;
pub mod draft;
pub mod files;

pub use catalogue::{Catalogue, Difference, Entry};
