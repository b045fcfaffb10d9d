//! What an operator does to a deployed stack.
//!
//! | module | what it is for |
//! |---|---|
//! | [`configure`] | checks access to GHL, Supabase and AWS, and writes the secrets |
//! | [`migrate`] | applies the migrations to a database |
//! | [`deploy`], [`check`] | deploys an artifact; looks at what is deployed from outside |
//! | [`forget`] | blanks what is stored of a person |
//! | [`redrive`] | sends orders that failed for good again |
//! | [`aws`], [`supabase`] | the services that these commands ask |
//! | [`ask`], [`secret`], [`report`] | questions at the terminal, values that are never shown, and findings |

mod ask;
mod aws;
pub(crate) mod check;
pub(crate) mod configure;
pub(crate) mod deploy;
pub(crate) mod forget;
pub(crate) mod migrate;
pub(crate) mod redrive;
mod report;
mod secret;
mod supabase;
