//! Postgres servers of this machine, and migrations of any database.
//!
//! | module | what it is for |
//! |---|---|
//! | [`postgres`] | the server of a local stack |
//! | [`scratch`] | a server for a moment, to see what files make of an empty database |
//! | [`migrations`] | what a database has of our migrations, and applying the rest |
//! | [`sql_files`] | the SQL files of a directory |

pub(crate) mod migrations;
pub(crate) mod postgres;
pub(crate) mod scratch;
pub(crate) mod sql_files;
