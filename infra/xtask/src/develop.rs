//! What a developer does on this machine.
//!
//! | module | what it is for |
//! |---|---|
//! | [`build`] | compiles the functions and the local servers |
//! | [`stack`] | puts the whole system up and takes it down |
//! | [`up`], [`demo`] | keep a stack running; show a full sync in it |
//! | [`drive`] | what an admin does, from the terminal |
//! | [`sign_in`] | short addresses of the dashboard |
//! | [`test`], [`bench`] | runs every suite and adds up; measures |
//! | [`lighthouse`], [`screenshots`] | judges the dashboard; takes its pictures for the README |
//! | [`sam_local`] | the functions in containers, by SAM |
//! | [`migration`] | writes the next migration |
//! | [`package`] | builds what a release deploys |

pub(crate) mod bench;
mod build;
pub(crate) mod demo;
pub(crate) mod drive;
pub(crate) mod lighthouse;
pub(crate) mod migration;
pub(crate) mod package;
pub(crate) mod sam_local;
pub(crate) mod screenshots;
pub(crate) mod sign_in;
pub(crate) mod stack;
pub(crate) mod test;
pub(crate) mod up;
