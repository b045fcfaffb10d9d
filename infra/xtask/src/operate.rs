//! What an operator does to a deployed stack.
//!
//! | module | what it is for |
//! |---|---|
//! | [`configure`] | checks access to GHL, Supabase and AWS, and writes the secrets |
//! | [`migrate`] | applies the migrations to a database |
//! | [`forget`] | blanks what is stored of a person |
//! | [`redrive`] | sends orders that failed for good again |
//! | [`aws`], [`supabase`] | the services that these commands ask |
//! | [`ask`], [`secret`] | questions at the terminal, and values that are never shown |

mod ask;
mod aws;
pub(crate) mod configure;
pub(crate) mod forget;
pub(crate) mod migrate;
pub(crate) mod redrive;
mod secret;
mod supabase;
