//! What Supabase projects hand out by default, the older ones and the newer ones.

use crate::harness::{NEWER_PROJECT, TestDatabase};

/// What a project hands out by default to whoever has one of its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Project {
    /// Everything: a revoke that is missing is seen.
    Older,
    /// Nothing that can be used: a grant that is missing is seen.
    Newer,
}

impl Project {
    pub(crate) const ALL: [Self; 2] = [Self::Older, Self::Newer];

    /// A database without anything but Supabase's roles.
    pub(crate) async fn empty(self) -> TestDatabase {
        let database = TestDatabase::empty().await;
        if self == Self::Newer {
            database.execute(NEWER_PROJECT).await;
        }
        database
    }
}
